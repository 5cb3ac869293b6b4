// A field of the composer: plain at first, with suggestions once they are wanted and loaded.

import { createEffect, createSignal, For, Show } from "solid-js";
import { Dynamic } from "solid-js/web";
import type { Group } from "../lib/github";
import controls from "../styles/controls.module.css";
import type { SuggestField } from "./SuggestField";

type Suggest = typeof SuggestField;

/** Loads the field with suggestions as soon as it is `wanted`. The page's first load does not contain it. */
export function createSuggestions(wanted: () => boolean) {
  const [suggest, setSuggest] = createSignal<Suggest>();
  createEffect(() => {
    if (!wanted()) return;
    // Without it, the plain fields stay.
    import("./SuggestField").then((module) => setSuggest(() => module.SuggestField)).catch(() => {});
  });
  return suggest;
}

/** A text field of the composer. */
export function ComposerField(props: {
  /** The field with suggestions, if there are any. */
  suggest: Suggest | undefined;
  id: string;
  name: string;
  label: string;
  placeholder: string;
  value: string;
  groups: Group[];
  note?: string | undefined;
  loading?: boolean | undefined;
  invalid: boolean;
  describedBy?: string | undefined;
  /** What the plain field offers. */
  plainOptions?: string[];
  ref?: (field: HTMLInputElement) => void;
  onText: (text: string) => void;
  onSearch: () => void;
  onBlur?: () => void;
}) {
  let plain: HTMLInputElement | undefined;
  const focusAt = (): [number, number] | undefined =>
    plain && document.activeElement === plain
      ? [plain.selectionStart ?? 0, plain.selectionEnd ?? 0]
      : undefined;
  return (
    <Show
      when={props.suggest}
      fallback={
        <>
          <input
            ref={(field) => {
              plain = field;
              props.ref?.(field);
            }}
            id={props.id}
            name={props.name}
            class={controls.field}
            list={props.plainOptions ? `${props.id}-options` : undefined}
            placeholder={props.placeholder}
            autocomplete="off"
            autocapitalize="off"
            spellcheck={false}
            value={props.value}
            aria-invalid={props.invalid ? "true" : undefined}
            aria-describedby={props.describedBy}
            onInput={(event) => props.onText(event.currentTarget.value)}
            onBlur={() => props.onBlur?.()}
          />
          <Show when={props.plainOptions}>
            {(options) => (
              <datalist id={`${props.id}-options`}>
                <For each={options()}>{(value) => <option value={value} />}</For>
              </datalist>
            )}
          </Show>
        </>
      }
    >
      {(suggest) => <Dynamic component={suggest()} {...props} focusAt={focusAt()} />}
    </Show>
  );
}
