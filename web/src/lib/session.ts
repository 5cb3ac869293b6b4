// What the site shows of a session: its name, reason and address.

import type { Session } from "../api/client";
import type { useI18n } from "../i18n";
import { repoName } from "./repo";

/** Returns a session's name: its repository, or "New project". */
export function nameOf(i18n: ReturnType<typeof useI18n>, session: Session): string {
  return session.repoUrl ? repoName(session.repoUrl) : i18n.t("row.newProject");
}

/**
 * Returns a session's reason and advice, translated if the code is known. What a cluster or a machine said
 * itself follows a colon in the router's message, and is kept in its own words.
 */
export function reasonOf(
  i18n: ReturnType<typeof useI18n>,
  session: Session,
): { message: string; advice?: string } {
  const reason = session.reason;
  if (!reason) return { message: "" };
  const [message, advice] = [`reason.${reason.code}`, `advice.${reason.code}`];
  const colon = reason.message.indexOf(": ");
  const values = {
    minutes: session.idleTimeoutMinutes,
    detail: colon < 0 ? "" : reason.message.slice(colon + 2),
  };
  return {
    message: i18n.has(message) ? i18n.t(message, values).trim() : reason.message,
    advice: i18n.has(advice) ? i18n.t(advice) : (reason.advice ?? undefined),
  };
}

/** Returns a session's address: its own host if it is running, else its page on this site. */
export function hrefOf(session: Session): string {
  return session.state === "running" && session.url ? session.url : `/session/${session.hash}`;
}
