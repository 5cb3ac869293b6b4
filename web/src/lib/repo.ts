// Repository addresses as users type them.

import type { SiteConfig } from "../api/client";
import type { Key } from "../i18n";

/** The address to send to the router, or what is wrong with the typed one. */
export type Checked = { url: string; error?: undefined } | { url?: undefined; error: Key };

/** Checks a typed repository; `owner/name` is one on GitHub. The router checks it again. */
export function checkRepo(
  text: string,
  config?: Partial<Pick<SiteConfig, "sshRepos" | "localRepos" | "githubUrl">>,
): Checked {
  const typed = text.trim();
  if (typed === "") return { error: "invalid.repoEmpty" };
  if (/\s/.test(typed) && !typed.startsWith("/")) return { error: "invalid.repoForm" };
  if (/^[A-Za-z0-9_.-]+\/[A-Za-z0-9_.-]+$/.test(typed) && !typed.startsWith("-")) {
    return { url: `${config?.githubUrl ?? "https://github.com"}/${typed}` };
  }
  if (typed.startsWith("/") || /^file:/i.test(typed)) {
    return config?.localRepos ? { url: typed } : { error: "invalid.repoKind" };
  }
  const scheme = /^([a-z][a-z0-9+.-]*):\/\//i.exec(typed)?.[1]?.toLowerCase();
  if (scheme === "http" || scheme === "https") return checkWeb(typed);
  const ssh = scheme === "ssh" || scheme === "git" || /^([\w.-]+@)?[\w.-]+:[^:/-][^:]*$/.test(typed);
  if (ssh) return config?.sshRepos ? { url: typed } : { error: "invalid.repoKind" };
  return { error: scheme ? "invalid.repoKind" : "invalid.repoForm" };
}

function checkWeb(typed: string): Checked {
  let url: URL;
  try {
    url = new URL(typed);
  } catch {
    return { error: "invalid.repoForm" };
  }
  if (url.username || url.password) return { error: "invalid.repoCredential" };
  return url.pathname.replaceAll("/", "") === "" ? { error: "invalid.repoForm" } : { url: typed };
}

/** Whether git accepts a branch name (`git check-ref-format --branch`). */
export function isBranch(name: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: control characters are refused
  if (name === "" || name === "@" || name === "HEAD" || /[\x00-\x20\x7f~^:?*[\\]/.test(name)) return false;
  if (name.startsWith("-") || name.endsWith(".") || name.includes("..") || name.includes("@{")) return false;
  return name.split("/").every((part) => part !== "" && !part.startsWith(".") && !part.endsWith(".lock"));
}

/** Returns a repository's short name: `owner/name`, without host and `.git`. */
export function repoName(url: string): string {
  const path = url
    .replace(/^[a-z+]+:\/\/[^/]*/i, "")
    .replace(/^[^/]*:/, "")
    .replace(/\.git\/?$/, "");
  return path.split("/").filter(Boolean).slice(-2).join("/") || url;
}
