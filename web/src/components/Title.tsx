// The document's title.

import { createEffect } from "solid-js";

/** Sets the page's title. */
export function Title(props: { text: string }) {
  createEffect(() => {
    document.title = `${props.text} · opencode`;
  });
  return null;
}
