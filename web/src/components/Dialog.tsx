// The frame of every dialog.

import { Dialog as Kobalte } from "@kobalte/core/dialog";
import type { JSX } from "solid-js";
import controls from "../styles/controls.module.css";

/** A modal dialog: it keeps the focus inside, closes on Escape, and then restores the focus. */
export function Dialog(props: {
  open: boolean;
  onClose: () => void;
  title: string;
  wide?: boolean;
  alert?: boolean;
  children: JSX.Element;
}) {
  return (
    <Kobalte open={props.open} onOpenChange={(open) => !open && props.onClose()} preventScroll={false}>
      <Kobalte.Portal>
        <Kobalte.Overlay class={controls.overlay} />
        <div class={controls.dialogPlace}>
          <Kobalte.Content
            class={controls.dialog}
            classList={{ [controls.wide ?? ""]: props.wide === true }}
            role={props.alert ? "alertdialog" : "dialog"}
          >
            <Kobalte.Title class={controls.dialogTitle}>{props.title}</Kobalte.Title>
            {props.children}
          </Kobalte.Content>
        </div>
      </Kobalte.Portal>
    </Kobalte>
  );
}
