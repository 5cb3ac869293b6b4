import { useNavigate, useParams } from "@solidjs/router";
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
import { useSite } from "../context";
import { useI18n } from "../i18n";
import { sentence } from "../lib/errors";
import { nameOf } from "../lib/names";
import { Title } from "../parts/Title";
import controls from "../styles/controls.module.css";
import { Failed } from "./Failed";
import { Missing } from "./Missing";
import css from "./Session.module.css";
import { Starting } from "./Starting";
import { Stopped } from "./Stopped";

const DeleteDialog = lazy(() => import("../parts/DeleteDialog").then((m) => ({ default: m.DeleteDialog })));

/** One session's page: what it is doing, until it runs; then it turns into the session itself. */
export function SessionScreen() {
  const i18n = useI18n();
  const { sessions } = useSite();
  const params = useParams<{ hash: string }>();
  const session = createMemo(() => sessions.session(params.hash));

  // One that was made a moment ago may not be in the list yet: asked before anything is said.
  const [asked] = createResource(
    () => sessions.link() === "live" && !session() && params.hash,
    () => sessions.refresh(),
  );

  // In place of this page, so that Back leads to where one came from.
  createEffect(() => {
    const now = session();
    if (now?.state === "running" && now.url) location.replace(now.url);
  });

  return (
    <Show
      when={session()}
      fallback={
        <Show when={sessions.link() === "live" && asked.state === "ready"} fallback={<Waiting />}>
          <Title text={i18n.t("missing.title")} />
          <Missing text={i18n.t("missing.session")} />
        </Show>
      }
    >
      {(known) => <Known session={known()} />}
    </Show>
  );
}

function Waiting() {
  return (
    <div class={css.screen}>
      <span class={controls.spinner} />
    </div>
  );
}

export type Acts = { busy: boolean; resume: () => void; remove: () => void };

function Known(props: { session: Session }) {
  const i18n = useI18n();
  const navigate = useNavigate();
  const { sessions } = useSite();
  const [busy, setBusy] = createSignal(false);
  const [failure, setFailure] = createSignal("");
  const [deleting, setDeleting] = createSignal(false);
  const name = () => nameOf(i18n, props.session);

  const act = async (what: (hash: string) => Promise<unknown>) => {
    setBusy(true);
    setFailure("");
    try {
      await what(props.session.hash);
      if (sessions.link() !== "live") await sessions.refresh();
    } catch (error) {
      setFailure(sentence(i18n, error));
    } finally {
      setBusy(false);
    }
  };
  const acts = (): Acts => ({
    busy: busy(),
    resume: () => void act(api.resume),
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
      <Switch fallback={<Waiting />}>
        <Match when={props.session.state === "creating" || props.session.state === "running"}>
          <Starting session={props.session} onStop={() => void act(api.stop)} busy={busy()} />
        </Match>
        <Match when={props.session.state === "failed"}>
          <Failed session={props.session} acts={acts()} />
        </Match>
        <Match when={props.session.state === "stopped" || props.session.state === "stopping"}>
          <Stopped session={props.session} acts={acts()} />
        </Match>
      </Switch>
      <Show when={failure()}>
        <p class={controls.error} role="alert">
          {failure()}
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
