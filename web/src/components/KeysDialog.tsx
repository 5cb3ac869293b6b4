// The dialog with the keyboard shortcuts.

import { createSignal, For, lazy, onCleanup, onMount, Show, Suspense } from "solid-js";
import { type Key, useI18n } from "../i18n";
import css from "./KeysDialog.module.css";

const Dialog = lazy(() => import("./Dialog").then((module) => ({ default: module.Dialog })));

const KEYS: [string, Key][] = [
  ["/", "keys.compose"],
  ["↑ ↓", "keys.move"],
  ["→ ←", "keys.unfold"],
  ["↵", "keys.open"],
  ["?", "keys.help"],
];

/** Handles the page's keyboard shortcuts, and shows them in a dialog. */
export function KeysDialog() {
  const i18n = useI18n();
  const [open, setOpen] = createSignal(false);
  const onKeyDown = (event: KeyboardEvent) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || isTyping(event.target))
      return;
    if (event.key === "?") {
      event.preventDefault();
      setOpen(true);
    } else if (event.key === "/") {
      const field = document.querySelector<HTMLInputElement>("#compose-repo");
      if (field) {
        event.preventDefault();
        field.focus();
        field.select();
      }
    } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
      if (moveFocus(event.key === "ArrowDown" ? 1 : -1, event.target)) event.preventDefault();
    }
  };
  onMount(() => document.addEventListener("keydown", onKeyDown));
  onCleanup(() => document.removeEventListener("keydown", onKeyDown));
  return (
    <Show when={open()}>
      <Suspense>
        <Dialog open onClose={() => setOpen(false)} title={i18n.t("keys.title")}>
          <dl class={css.keys}>
            <For each={KEYS}>
              {([key, text]) => (
                <div class={css.row}>
                  <dt>
                    <kbd class={css.key}>{key}</kbd>
                  </dt>
                  <dd>{i18n.t(text)}</dd>
                </div>
              )}
            </For>
          </dl>
        </Dialog>
      </Suspense>
    </Show>
  );
}

function isTyping(target: EventTarget | null): boolean {
  return (
    target instanceof HTMLElement &&
    (target.isContentEditable ||
      /^(input|textarea|select)$/i.test(target.tagName) ||
      !!target.closest("[role=menu],[role=dialog],[role=alertdialog]"))
  );
}

/** Moves the focus to the next or previous row; from outside of the list, to the first or last one. */
function moveFocus(step: 1 | -1, from: EventTarget | null): boolean {
  const rows = [...document.querySelectorAll<HTMLAnchorElement>("[data-row]")];
  const current = from instanceof Element ? rows.findIndex((row) => row.closest("li")?.contains(from)) : -1;
  const next = current < 0 ? (step === 1 ? rows[0] : rows.at(-1)) : rows[current + step];
  next?.focus();
  return next !== undefined;
}
