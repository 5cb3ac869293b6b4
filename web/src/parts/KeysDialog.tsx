import { createSignal, For, lazy, onCleanup, onMount, Show, Suspense } from "solid-js";
import { type Key, useI18n } from "../i18n";
import css from "./KeysDialog.module.css";

const Dialog = lazy(() => import("./Dialog").then((module) => ({ default: module.Dialog })));

const KEYS: [string, Key][] = [
  ["/", "keys.compose"],
  ["↑ ↓", "keys.walk"],
  ["↵", "keys.open"],
  ["?", "keys.help"],
];

/** The one place that listens to the whole page's keys. */
export function KeysDialog() {
  const i18n = useI18n();
  const [open, setOpen] = createSignal(false);
  const listen = (event: KeyboardEvent) => {
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
      if (walk(event.key === "ArrowDown" ? 1 : -1, event.target)) event.preventDefault();
    }
  };
  onMount(() => document.addEventListener("keydown", listen));
  onCleanup(() => document.removeEventListener("keydown", listen));
  return (
    <Show when={open()}>
      <Suspense>
        <Dialog open onClose={() => setOpen(false)} title={i18n.t("keys.title")}>
          <dl class={css.keys}>
            <For each={KEYS}>
              {([key, what]) => (
                <div class={css.row}>
                  <dt>
                    <kbd class={css.key}>{key}</kbd>
                  </dt>
                  <dd>{i18n.t(what)}</dd>
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

/** Moves the focus to the next row's link; from outside of the list, to its first or last. */
function walk(step: 1 | -1, from: EventTarget | null): boolean {
  const rows = [...document.querySelectorAll<HTMLAnchorElement>("[data-row]")];
  const here = from instanceof Element ? rows.findIndex((row) => row.closest("li")?.contains(from)) : -1;
  const next = here < 0 ? (step === 1 ? rows[0] : rows.at(-1)) : rows[here + step];
  next?.focus();
  return next !== undefined;
}
