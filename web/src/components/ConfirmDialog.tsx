// A dialog that asks before something is done that can't be undone.

import { createSignal, onMount, Show } from "solid-js";
import { ApiError } from "../api/client";
import { useI18n } from "../i18n";
import { sentence } from "../lib/errors";
import controls from "../styles/controls.module.css";
import { Dialog } from "./Dialog";

/** Asks before `run`. The focus is on Cancel. What is gone already (404) needs nothing done. */
export function ConfirmDialog(props: {
  title: string;
  text: string;
  /** The name of the button that does it. */
  action: string;
  run: () => Promise<unknown>;
  onClose: () => void;
  onDone: () => void;
}) {
  const i18n = useI18n();
  const [busy, setBusy] = createSignal(false);
  const [failure, setFailure] = createSignal("");
  let cancel: HTMLButtonElement | undefined;
  onMount(() => queueMicrotask(() => cancel?.focus()));
  const run = async () => {
    setBusy(true);
    try {
      await props.run();
    } catch (error) {
      if (!(error instanceof ApiError && error.status === 404)) {
        setFailure(sentence(i18n, error));
        return setBusy(false);
      }
    }
    props.onDone();
  };
  return (
    <Dialog open alert onClose={props.onClose} title={props.title}>
      <p>{props.text}</p>
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
          onClick={() => void run()}
        >
          {props.action}
        </button>
      </div>
    </Dialog>
  );
}
