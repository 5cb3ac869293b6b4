// The dialog with the last lines of a session's log.

import { createResource, Show } from "solid-js";
import { useI18n } from "../i18n";
import { createCopy } from "../lib/copy";
import { sentence } from "../lib/errors";
import controls from "../styles/controls.module.css";
import { Dialog } from "./Dialog";

export function LogsDialog(props: { name: string; load: () => Promise<string>; onClose: () => void }) {
  const i18n = useI18n();
  const copy = createCopy();
  const [log] = createResource(() => props.load().catch((error) => sentence(i18n, error)));
  return (
    <Dialog open wide onClose={props.onClose} title={i18n.t("logs.title", { name: props.name })}>
      <Show when={!log.loading} fallback={<span class={controls.spinner} />}>
        <pre class={controls.log} tabindex="0">
          {log() || i18n.t("logs.empty")}
        </pre>
      </Show>
      <div class={controls.actions}>
        <button type="button" class={controls.button} onClick={() => void copy(log() ?? "")}>
          {i18n.t("action.copy")}
        </button>
        <button type="button" class={controls.button} onClick={props.onClose}>
          {i18n.t("action.close")}
        </button>
      </div>
    </Dialog>
  );
}
