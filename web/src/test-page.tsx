import { createMemoryHistory, MemoryRouter, Route } from "@solidjs/router";
import { render } from "@solidjs/testing-library";
import { createSignal, type JSX } from "solid-js";
import { createStore } from "solid-js/store";
import { vi } from "vitest";
import type { Session, SiteConfig } from "./api/client";
import type { Connection } from "./api/sessions";
import { SiteContext } from "./context";
import { I18nProvider } from "./i18n";

/** Returns a running session; `overrides` are the fields that a test cares about. */
export function aSession(overrides: Partial<Session> = {}): Session {
  return {
    hash: "a48da0606867",
    email: "alice@example.com",
    repoUrl: "https://github.com/acme/widgets.git",
    branch: "main",
    sourceBranch: null,
    state: "running",
    stateSince: "2026-11-23T12:00:00Z",
    url: "http://a48da0606867.localhost:3000/L3g/session/ses_1",
    lastActivity: new Date().toISOString(),
    createdAt: "2026-11-23T12:00:00Z",
    idleTimeoutMinutes: 30,
    busy: false,
    stages: [],
    ...overrides,
  };
}

const CONFIG: SiteConfig = {
  sshRepos: true,
  localRepos: true,
  idleTimeoutMinutes: 30,
  admin: false,
  githubUrl: "https://github.com",
  githubToken: false,
  version: "0.1.0",
};

/** Renders a component with these sessions. Tests mock the API themselves. */
export function renderComponent(
  component: () => JSX.Element,
  initial: Session[] = [],
  path = "/",
  route = "/",
) {
  localStorage.setItem("language", "en");
  const [list, setList] = createStore({ email: "alice@example.com", sessions: initial });
  const [connection, setConnection] = createSignal<Connection>("live");
  const refresh = vi.fn(async () => true);
  const announce = vi.fn();
  const sessions = {
    list,
    connection,
    refresh,
    session: (hash: string) => list.sessions.find((session) => session.hash === hash),
  };
  const history = createMemoryHistory();
  history.set({ value: path });
  const config = Object.assign(() => CONFIG, { state: "ready", loading: false }) as never;
  const page = render(() => (
    <I18nProvider>
      <MemoryRouter
        history={history}
        root={(props) => (
          <SiteContext.Provider value={{ sessions, config, announce }}>{props.children}</SiteContext.Provider>
        )}
      >
        <Route path={route} component={component} />
        <Route path="*" component={() => <p>another page</p>} />
      </MemoryRouter>
    </I18nProvider>
  ));
  return {
    ...page,
    history,
    refresh,
    announce,
    setConnection,
    setSessions: (next: Session[]) => setList("sessions", next),
  };
}
