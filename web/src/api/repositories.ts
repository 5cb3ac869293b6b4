// The caller's repositories on GitHub, and their branches: loaded when a field first needs them.

import { createSignal } from "solid-js";
import { api, type Branch, type Repository } from "./client";

/** After an error, a field asks again no sooner than this. */
const RETRY_AFTER_MS = 5_000;

/** A list that is loaded on demand. */
export type Loadable<T> = {
  items: T[];
  loading: boolean;
  /** What went wrong, until a later try succeeds. */
  error?: unknown;
  /** Why some are missing: `limit` or `sso`. */
  incomplete?: string;
};

function createLoadable<T>(fetch: () => Promise<{ items: T[]; incomplete?: string }>) {
  const [state, setState] = createSignal<Loadable<T>>({ items: [], loading: false });
  let done = false;
  let failedAt = Number.NEGATIVE_INFINITY;
  return {
    state,
    /** Loads the list unless it is loaded or being loaded. */
    load: async () => {
      if (done || state().loading || performance.now() - failedAt < RETRY_AFTER_MS) return;
      setState((before) => ({ ...before, loading: true }));
      try {
        const answer = await fetch();
        done = true;
        setState({ ...answer, loading: false });
      } catch (error) {
        failedAt = performance.now();
        setState((before) => ({ ...before, error, loading: false }));
      }
    },
  };
}

/** Returns the repositories and the branches of each, none of them loaded yet. */
export function createRepositories() {
  const branches = new Map<string, ReturnType<typeof createLoadable<Branch>>>();
  return {
    repositories: createLoadable<Repository>(() => api.repositories()),
    branches: (repo: string) => {
      const known = branches.get(repo) ?? createLoadable<Branch>(() => api.branches(repo));
      branches.set(repo, known);
      return known;
    },
  };
}
