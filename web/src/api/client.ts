import createClient from "openapi-fetch";
import type { components, paths } from "./schema";

export type Session = components["schemas"]["Session"];
export type SessionList = components["schemas"]["SessionList"];
export type Stage = components["schemas"]["Stage"];
export type State = Session["state"];
export type SiteConfig = components["schemas"]["SiteConfig"];
export type UnsavedWork = components["schemas"]["UnsavedWork"];

/** A refusal of the router's, as it puts it. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
  ) {
    super(message);
  }
}

/** The sign-in proxy sent us to its page, or the router knows nobody. */
export class SignedOut extends Error {}

/** The router could not be reached. */
export class Unreachable extends Error {}

async function fetchHere(request: Request): Promise<Response> {
  let response: Response;
  try {
    // A redirect is the sign-in proxy's: its page is not what was asked for.
    response = await fetch(request, { redirect: "manual" });
  } catch {
    throw new Unreachable();
  }
  if (response.type === "opaqueredirect" || response.status === 401) throw new SignedOut();
  if (response.status === 502 || response.status === 504) throw new Unreachable();
  return response;
}

const client = createClient<paths>({
  baseUrl: location.origin,
  headers: { "content-type": "application/json" },
  fetch: fetchHere,
});

type Answer<T> = { data?: T; error?: unknown; response: Response };

async function take<T>(answer: Promise<Answer<T>>): Promise<T> {
  const { data, error, response } = await answer;
  if (response.ok) return data as T;
  const body = (typeof error === "object" && error !== null ? error : {}) as {
    error?: string;
    code?: string;
  };
  throw new ApiError(response.status, body.code ?? "unknown", body.error ?? response.statusText);
}

const at = (hash: string) => ({ params: { path: { hash } } });

export const api = {
  list: () => take(client.GET("/api/sessions")),
  create: (body: components["schemas"]["CreateSession"]) => take(client.POST("/api/sessions", { body })),
  resume: (hash: string) => take(client.POST("/api/sessions/{hash}/resume", at(hash))),
  stop: (hash: string) => take(client.POST("/api/sessions/{hash}/stop", at(hash))),
  remove: (hash: string) => take(client.DELETE("/api/sessions/{hash}", at(hash)) as Promise<Answer<unknown>>),
  work: (hash: string) => take(client.GET("/api/sessions/{hash}/work", at(hash))),
  config: () => take(client.GET("/api/config")),
  suggestBranch: (repoUrl: string) =>
    take(client.GET("/api/sessions/suggest-branch", { params: { query: { repoUrl } } })),
  logs: (hash: string) =>
    take(
      client.GET("/api/sessions/{hash}/logs", {
        params: { path: { hash }, query: { lines: 500 } },
        parseAs: "text",
      }) as Promise<Answer<string>>,
    ),
};
