// The dialog that shows which secrets a pasted .env file would set.

import { createSignal, For, Show } from "solid-js";
import { useI18n } from "../i18n";
import type { Dotenv } from "../lib/dotenv";
import css from "../screens/Settings.module.css";
import controls from "../styles/controls.module.css";
import { Dialog } from "./Dialog";

/** Asks which of the file's variables are to be set. It shows no value. */
export function PastedSecrets(props: {
  file: Dotenv;
  existing: string[];
  busy: boolean;
  failure: string;
  onClose: () => void;
  onSet: (secrets: Record<string, string>) => void;
}) {
  const i18n = useI18n();
  const [left, setLeft] = createSignal<string[]>([]);
  const chosen = () => props.file.variables.filter(([name]) => !left().includes(name));
  const choose = (name: string, isChosen: boolean) =>
    setLeft((left) => (isChosen ? left.filter((other) => other !== name) : [...left, name]));
  return (
    <Dialog open onClose={props.onClose} title={i18n.t("secret.pastedTitle")}>
      <ul>
        <For each={props.file.variables}>
          {([name]) => (
            <li>
              <label class={css.check}>
                <input
                  type="checkbox"
                  checked={!left().includes(name)}
                  onChange={(event) => choose(name, event.currentTarget.checked)}
                />
                <code class={css.name}>{name}</code>
                <Show when={props.existing.includes(name)}>
                  <span class={css.note}>{i18n.t("secret.replaces")}</span>
                </Show>
              </label>
            </li>
          )}
        </For>
      </ul>
      <Show when={props.file.invalidLines.length > 0}>
        <p class={css.note}>
          {i18n.t("secret.invalidLines", { lines: props.file.invalidLines.slice(0, 10).join(", ") })}
        </p>
      </Show>
      <p class={controls.error} role="alert">
        {props.failure}
      </p>
      <div class={controls.actions}>
        <button type="button" class={controls.button} onClick={props.onClose}>
          {i18n.t("action.cancel")}
        </button>
        <button
          type="button"
          class={`${controls.button} ${controls.primary}`}
          disabled={props.busy || chosen().length === 0}
          onClick={() => props.onSet(Object.fromEntries(chosen()))}
        >
          {i18n.plural("secret.setSome", chosen().length)}
        </button>
      </div>
    </Dialog>
  );
}
