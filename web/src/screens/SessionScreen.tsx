// The screen of one session; it becomes opencode's page once the session runs.

import { useNavigate, useParams, useSearchParams } from "@solidjs/router";
import {
  createEffect,
  createMemo,
  createResource,
  createSignal,
  lazy,
  Match,
  Show,
  Suspense,
  Switch,
} from "solid-js";
import { api, type Session } from "../api/client";
import { Title } from "../components/Title";
import { useSite } from "../context";
import { useI18n } from "../i18n";
import { createAction } from "../lib/action";
import { nameOf } from "../lib/session";
import { type Requested, targetOf } from "../lib/target";
import controls from "../styles/controls.module.css";
import { Failed } from "./Failed";
import { Missing } from "./Missing";
import css from "./Session.module.css";
import { Starting } from "./Starting";
import { Stopped } from "./Stopped";

const DeleteDialog = lazy(() =>
  import("../components/DeleteDialog").then((m) => ({ default: m.DeleteDialog })),
);

/**
 * A session's page: its state and actions. Once the session is running, the browser goes to the session itself, or
 * to the address in it that was requested while it did not run.
 */
export function SessionScreen() {
  const i18n = useI18n();
  const { sessions } = useSite();
  const params = useParams<{ hash: string }>();
  const [requested] = useSearchParams<Requested>();
  const session = createMemo(() => sessions.session(params.hash));

  // A session that was just created may not be in the list yet, so the list is fetched before the page says
  // so.
  const [lookup] = createResource(
    () => sessions.connection() === "live" && !session() && params.hash,
    () => sessions.refresh(),
  );

  // Replaces this page in the history, so that Back skips it.
  createEffect(() => {
    const current = session();
    if (current?.state === "running" && current.url) {
      location.replace(targetOf(current.url, { to: requested.to, port: requested.port }, location.hash));
    }
  });

  return (
    <Show
      when={session()}
      fallback={
        <Show when={sessions.connection() === "live" && lookup.state === "ready"} fallback={<Loading />}>
          <Title text={i18n.t("missing.title")} />
          <Missing text={i18n.t("missing.session")} />
        </Show>
      }
    >
      {(current) => <SessionArticle session={current()} />}
    </Show>
  );
}

function Loading() {
  return (
    <div class={css.screen}>
      <span class={controls.spinner} />
    </div>
  );
}

export type SessionActions = { busy: boolean; resume: () => void; remove: () => void };

function SessionArticle(props: { session: Session }) {
  const i18n = useI18n();
  const navigate = useNavigate();
  const action = createAction(() => props.session.hash);
  const [deleting, setDeleting] = createSignal(false);
  const name = () => nameOf(i18n, props.session);

  const actions = (): SessionActions => ({
    busy: action.busy(),
    resume: () => void action.run(api.resume),
    remove: () => setDeleting(true),
  });

  return (
    <article class={css.screen}>
      <Title text={`${name()} · ${i18n.t(`state.${props.session.state}`)}`} />
      <header class={css.head}>
        <h1 class={css.title}>{name()}</h1>
        <Show when={props.session.branch}>
          <code class={css.branch}>{props.session.branch}</code>
        </Show>
      </header>
      <Switch fallback={<Loading />}>
        <Match when={props.session.state === "creating" || props.session.state === "running"}>
          <Starting session={props.session} onStop={() => void action.run(api.stop)} busy={action.busy()} />
        </Match>
        <Match when={props.session.state === "failed"}>
          <Failed session={props.session} actions={actions()} />
        </Match>
        <Match when={props.session.state === "stopped" || props.session.state === "stopping"}>
          <Stopped session={props.session} actions={actions()} />
        </Match>
      </Switch>
      <Show when={action.failure()}>
        <p class={controls.error} role="alert">
          {action.failure()}
        </p>
      </Show>
      <Show when={deleting()}>
        <Suspense>
          <DeleteDialog
            session={props.session}
            name={name()}
            onClose={() => setDeleting(false)}
            onDeleted={() => navigate("/", { replace: true })}
          />
        </Suspense>
      </Show>
    </article>
  );
}
