import { createEffect } from "solid-js";

/** The page's title in the tab. */
export function Title(props: { text: string }) {
  createEffect(() => {
    document.title = `${props.text} · opencode`;
  });
  return null;
}
