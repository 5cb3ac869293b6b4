// The commands for `opencode attach`.

/** What a command is made of. */
export type AttachCommand = {
  attachUrl: string;
  /** The opencode session to continue; if it is unknown, the newest one. */
  sessionId?: string | null;
  /** Without it, opencode reads the token from OPENCODE_SERVER_PASSWORD. */
  token?: string;
  /** The address of the site. */
  site: string;
};

/**
 * Returns the command for a POSIX shell.
 *
 * Names below `localhost` resolve in browsers, but not everywhere in programs, so the router itself is named
 * as their proxy.
 */
export function attachCommand({ attachUrl, sessionId, token, site }: AttachCommand): string {
  const isLocal = new URL(attachUrl).hostname.endsWith(".localhost");
  return [
    ...(isLocal ? [`HTTP_PROXY=${site}`, "NO_PROXY="] : []),
    "opencode attach",
    attachUrl,
    ...(token ? ["--password", token] : []),
    // What the API answers is put into a command line, so it is checked.
    ...(sessionId && /^\w+$/.test(sessionId) ? ["--session", sessionId] : ["--continue"]),
  ].join(" ");
}

/** Returns a command that asks for the token, so that neither the history nor the process list has it. */
export function promptingCommand(command: Omit<AttachCommand, "token">): string {
  return `read -rs OPENCODE_SERVER_PASSWORD && export OPENCODE_SERVER_PASSWORD && ${attachCommand(command)}`;
}
