import type { Session } from "../api/client";
import type { useI18n } from "../i18n";
import { repoName } from "./repo";

/** What a session is called: its repository, or "New project". */
export function nameOf(i18n: ReturnType<typeof useI18n>, session: Session): string {
  return session.repoUrl ? repoName(session.repoUrl) : i18n.t("row.newProject");
}

/** Why it is stopped or failed, or goes on running unused, in the reader's language where the code is known. */
export function reasonOf(
  i18n: ReturnType<typeof useI18n>,
  session: Session,
): { what: string; advice?: string } {
  const reason = session.reason;
  if (!reason) return { what: "" };
  const [what, advice] = [`reason.${reason.code}`, `advice.${reason.code}`];
  return {
    what: i18n.has(what) ? i18n.t(what, { minutes: session.idleTimeoutMinutes }) : reason.message,
    advice: i18n.has(advice) ? i18n.t(advice) : (reason.advice ?? undefined),
  };
}

/** Where a row leads: into the session once it runs, else to its page. */
export function hrefOf(session: Session): string {
  return session.state === "running" && session.url ? session.url : `/session/${session.hash}`;
}
