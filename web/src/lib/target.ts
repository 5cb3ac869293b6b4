// The address that a browser is led to once a session runs.

/** The query of a session's page, as the router writes it when it redirects a browser there. */
export type Requested = { to?: string; port?: string };

/**
 * Returns the address that was requested before the browser was led to the session's page; without one, or if
 * it is no address of this session, the session's own. `fragment` is the page's, which browsers keep when they
 * are redirected.
 */
export function targetOf(url: string, requested: Requested, fragment = ""): string {
  const isPort = /^[1-9]\d{3,4}$/.test(requested.port ?? "");
  if (requested.to === undefined && !isPort) return url + (fragment && !url.includes("#") ? fragment : "");
  const home = new URL(url);
  const base = isPort ? `${home.protocol}//${requested.port}-${home.host}` : home.origin;
  const to = requested.to ?? "/";
  if (!URL.canParse(to, base)) return url;
  const target = new URL(to, base);
  if (!to.startsWith("/") || target.origin !== new URL(base).origin || target.username) return url;
  if (!target.hash) target.hash = fragment;
  return target.href;
}
