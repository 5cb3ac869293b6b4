// The client of the JSON API: typed requests, and errors as sentences.

import createClient from "openapi-fetch";
import type { components, paths } from "./schema";

export type AdminSession = components["schemas"]["AdminSession"];
export type Session = components["schemas"]["Session"];
export type SessionList = components["schemas"]["SessionList"];
export type Stage = components["schemas"]["Stage"];
export type State = Session["state"];
export type SiteConfig = components["schemas"]["SiteConfig"];
export type Repository = components["schemas"]["Repository"];
export type Branch = components["schemas"]["Branch"];
export type NewAttachToken = components["schemas"]["NewAttachToken"];
export type UnsavedWork = components["schemas"]["UnsavedWork"];

/** An error that the router answered, in its own words. */
export class ApiError extends Error {
  constructor(
    readonly status: number,
    readonly code: string,
    message: string,
    /** Seconds after which another try may succeed, if the router said so. */
    readonly retryAfter?: number,
  ) {
    super(message);
  }
}

/** The sign-in proxy redirected to its page, or the router answered 401. */
export class SignedOut extends Error {}

/** The router could not be reached. */
export class Unreachable extends Error {}

async function fetchApi(request: Request): Promise<Response> {
  let response: Response;
  try {
    // A redirect leads to the sign-in proxy's page, which is not an answer of the API.
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
  fetch: fetchApi,
});

type Answer<T> = { data?: T; error?: unknown; response: Response };

/** Returns an answer's data, or throws the error that it is. */
async function unwrap<T>(answer: Promise<Answer<T>>): Promise<T> {
  const { data, error, response } = await answer;
  if (response.ok) return data as T;
  const body = (typeof error === "object" && error !== null ? error : {}) as {
    error?: string;
    code?: string;
  };
  const retryAfter = Number(response.headers.get("retry-after")) || undefined;
  throw new ApiError(response.status, body.code ?? "unknown", body.error ?? response.statusText, retryAfter);
}

/** Returns a list, and why it is not complete. */
async function unwrapList<T>(answer: Promise<Answer<T[]>>): Promise<{ items: T[]; incomplete?: string }> {
  const items = await unwrap(answer);
  const incomplete = (await answer).response.headers.get("x-incomplete");
  return { items, ...(incomplete && { incomplete }) };
}

const pathOf = (hash: string) => ({ params: { path: { hash } } });

export const api = {
  list: () => unwrap(client.GET("/api/sessions")),
  create: (body: components["schemas"]["CreateSession"]) => unwrap(client.POST("/api/sessions", { body })),
  resume: (hash: string) => unwrap(client.POST("/api/sessions/{hash}/resume", pathOf(hash))),
  stop: (hash: string) => unwrap(client.POST("/api/sessions/{hash}/stop", pathOf(hash))),
  remove: (hash: string) =>
    unwrap(client.DELETE("/api/sessions/{hash}", pathOf(hash)) as Promise<Answer<unknown>>),
  work: (hash: string) => unwrap(client.GET("/api/sessions/{hash}/work", pathOf(hash))),
  /** What administrators may do; to everybody else these addresses do not exist. */
  admin: {
    list: () => unwrap(client.GET("/api/admin/sessions")),
    stop: (hash: string) => unwrap(client.POST("/api/admin/sessions/{hash}/stop", pathOf(hash))),
    remove: (hash: string) =>
      unwrap(client.DELETE("/api/admin/sessions/{hash}", pathOf(hash)) as Promise<Answer<unknown>>),
    logs: (hash: string) =>
      unwrap(
        client.GET("/api/admin/sessions/{hash}/logs", {
          params: { path: { hash }, query: { lines: 500 } },
          parseAs: "text",
        }) as Promise<Answer<string>>,
      ),
  },
  attachInfo: (hash: string) => unwrap(client.GET("/api/sessions/{hash}/attach-info", pathOf(hash))),
  createAttachToken: (hash: string, body: components["schemas"]["CreateAttachToken"]) =>
    unwrap(client.POST("/api/sessions/{hash}/attach-tokens", { ...pathOf(hash), body })),
  revokeAttachToken: (hash: string, id: string) =>
    unwrap(
      client.DELETE("/api/sessions/{hash}/attach-tokens/{id}", {
        params: { path: { hash, id } },
      }) as Promise<Answer<unknown>>,
    ),
  revokeAttachTokens: (hash: string) =>
    unwrap(client.DELETE("/api/sessions/{hash}/attach-tokens", pathOf(hash)) as Promise<Answer<unknown>>),
  secrets: {
    list: () => unwrap(client.GET("/api/user/secret")),
    set: (name: string, value: string) =>
      unwrap(client.PUT("/api/user/secret/{name}", { params: { path: { name } }, body: { value } })),
    setSome: (secrets: Record<string, string>) =>
      unwrap(client.PATCH("/api/user/secret", { body: { secrets } })),
    remove: (name: string) =>
      unwrap(client.DELETE("/api/user/secret/{name}", { params: { path: { name } } })),
    clear: () => unwrap(client.DELETE("/api/user/secret")),
  },
  config: () => unwrap(client.GET("/api/config")),
  suggestBranch: (repoUrl: string) =>
    unwrap(client.GET("/api/sessions/suggest-branch", { params: { query: { repoUrl } } })),
  repositories: () => unwrapList(client.GET("/api/user/repos")),
  branches: (repo: string) =>
    unwrapList(client.GET("/api/user/repos/branches", { params: { query: { repo } } })),
  logs: (hash: string) =>
    unwrap(
      client.GET("/api/sessions/{hash}/logs", {
        params: { path: { hash }, query: { lines: 500 } },
        parseAs: "text",
      }) as Promise<Answer<string>>,
    ),
};
