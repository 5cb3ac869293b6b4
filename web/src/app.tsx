// The site's frame: routes, shortcuts, and what every screen shares.

import { Route, Router } from "@solidjs/router";
import { createEffect, createResource, createSignal, ErrorBoundary, type JSX, lazy, on } from "solid-js";
import { api, type State } from "./api/client";
import { createSessions } from "./api/sessions";
import css from "./app.module.css";
import { ConnectionBar } from "./components/ConnectionBar";
import { Header } from "./components/Header";
import { KeysDialog } from "./components/KeysDialog";
import { SiteContext } from "./context";
import { I18nProvider, useI18n } from "./i18n";
import { nameOf } from "./lib/session";
import { Home } from "./screens/Home";
import { Missing } from "./screens/Missing";
import { SessionScreen } from "./screens/SessionScreen";

/** Few people are administrators, so the others do not load their screen. */
const Admin = lazy(() => import("./screens/Admin"));
/** Rarely opened, so it is loaded then. */
const Settings = lazy(() => import("./screens/Settings"));

export function App() {
  return (
    <I18nProvider>
      <Router root={Frame}>
        <Route path="/" component={Home} />
        <Route path="/session/:hash" component={SessionScreen} />
        <Route path="/admin" component={Admin} />
        <Route path="/settings" component={Settings} />
        <Route path="*" component={() => <Missing />} />
      </Router>
    </I18nProvider>
  );
}

function Frame(props: { children?: JSX.Element }) {
  const i18n = useI18n();
  const sessions = createSessions();
  const [config] = createResource(() => api.config().catch(() => undefined));
  const [announcement, announce] = createSignal("");
  announceStateChanges(sessions, announce);
  return (
    <SiteContext.Provider value={{ sessions, config, announce }}>
      <a class={css.skip} href="#main">
        {i18n.t("app.skip")}
      </a>
      <ConnectionBar connection={sessions.connection()} />
      <Header />
      <main id="main" class={css.main} tabindex="-1">
        <ErrorBoundary
          fallback={(error) => <Missing text={i18n.t("error.unknown", { message: String(error) })} />}
        >
          {props.children}
        </ErrorBoundary>
      </main>
      <KeysDialog />
      <p class="visually-hidden" role="status" aria-live="polite">
        {announcement()}
      </p>
    </SiteContext.Provider>
  );
}

/** Announces each change of a session's state once. */
function announceStateChanges(sessions: ReturnType<typeof createSessions>, announce: (text: string) => void) {
  const i18n = useI18n();
  let previous = new Map<string, State>();
  createEffect(
    on(
      () => sessions.list.sessions.map((session) => [session.hash, session.state] as const),
      (current) => {
        for (const [hash, state] of current) {
          const before = previous.get(hash);
          const session = sessions.session(hash);
          if (session && before !== undefined && before !== state) {
            announce(
              i18n.t("state.changed", { name: nameOf(i18n, session), state: i18n.t(`state.${state}`) }),
            );
          }
        }
        previous = new Map(current);
      },
    ),
  );
}
