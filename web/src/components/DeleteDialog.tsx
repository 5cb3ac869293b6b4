// The dialog that names what a delete loses, and asks for confirmation.

import { createResource, createSignal, For, Match, onMount, Show, Switch } from "solid-js";
import { ApiError, api, type Session, type UnsavedWork } from "../api/client";
import { useSite } from "../context";
import { useI18n } from "../i18n";
import { sentence } from "../lib/errors";
import controls from "../styles/controls.module.css";
import { Dialog } from "./Dialog";

/** Asks before a session is deleted, and names the unsaved work. The focus is on Cancel. */
export function DeleteDialog(props: {
  session: Session;
  name: string;
  onClose: () => void;
  onDeleted?: () => void;
}) {
  const i18n = useI18n();
  const { sessions } = useSite();
  const [work] = createResource(() => api.work(props.session.hash).catch(() => undefined));
  const [busy, setBusy] = createSignal(false);
  const [failure, setFailure] = createSignal("");
  let cancel: HTMLButtonElement | undefined;
  onMount(() => queueMicrotask(() => cancel?.focus()));

  const remove = async () => {
    setBusy(true);
    try {
      await api.remove(props.session.hash);
    } catch (error) {
      // A session that is gone already needs no deletion.
      if (!(error instanceof ApiError && error.status === 404)) {
        setFailure(sentence(i18n, error));
        return setBusy(false);
      }
    }
    void sessions.refresh();
    props.onClose();
    props.onDeleted?.();
  };

  return (
    <Dialog open alert onClose={props.onClose} title={i18n.t("delete.title")}>
      <p>
        <strong>{props.name}</strong> <code>{props.session.branch}</code>
      </p>
      <p>{i18n.t("delete.warning")}</p>
      <div role="status">
        <Switch fallback={<p>{i18n.t("delete.unknown")}</p>}>
          <Match when={work.loading}>
            <p>{i18n.t("delete.checking")}</p>
          </Match>
          <Match when={work()?.known && work()}>{(known) => <UnsavedWorkLines work={known()} />}</Match>
        </Switch>
      </div>
      <Show when={failure()}>
        <p class={controls.error} role="alert">
          {failure()}
        </p>
      </Show>
      <div class={controls.actions}>
        <button ref={cancel} type="button" class={controls.button} onClick={props.onClose}>
          {i18n.t("action.cancel")}
        </button>
        <button
          type="button"
          class={`${controls.button} ${controls.danger}`}
          disabled={busy()}
          onClick={() => void remove()}
        >
          {i18n.t("action.delete")}
        </button>
      </div>
    </Dialog>
  );
}

function UnsavedWorkLines(props: { work: UnsavedWork }) {
  const i18n = useI18n();
  const lines = () => [
    ...(props.work.uncommittedFiles ? [i18n.plural("delete.uncommitted", props.work.uncommittedFiles)] : []),
    ...(props.work.unpushedCommits ? [i18n.plural("delete.unpushed", props.work.unpushedCommits)] : []),
  ];
  return (
    <For each={lines()} fallback={<p>{i18n.t("delete.clean")}</p>}>
      {(line) => <p class={controls.error}>{line}</p>}
    </For>
  );
}
