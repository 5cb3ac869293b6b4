// The menu of a session's row.

import { DropdownMenu } from "@kobalte/core/dropdown-menu";
import Ellipsis from "lucide-solid/icons/ellipsis";
import { createSignal, lazy, Show, Suspense } from "solid-js";
import { api, type Session } from "../api/client";
import { useI18n } from "../i18n";
import { createCopy } from "../lib/copy";
import { hrefOf } from "../lib/session";
import controls from "../styles/controls.module.css";
import { DeleteDialog } from "./DeleteDialog";
import { LogsDialog } from "./LogsDialog";
import css from "./RowMenu.module.css";

const AttachDialog = lazy(() =>
  import("./AttachDialog").then((module) => ({ default: module.AttachDialog })),
);

/** A row's menu. It is open from the start, since the press that opens it also loads it. */
export function RowMenu(props: { session: Session; name: string }) {
  const i18n = useI18n();
  const copy = createCopy();
  const [dialog, setDialog] = createSignal<"attach" | "logs" | "delete">();
  const address = () => new URL(hrefOf(props.session), location.href).href;
  return (
    <>
      <DropdownMenu defaultOpen placement="bottom-end" gutter={4}>
        <DropdownMenu.Trigger
          class={`${controls.button} ${controls.quiet} ${controls.icon}`}
          aria-label={i18n.t("row.more", { name: props.name })}
        >
          <Ellipsis size={16} aria-hidden="true" />
        </DropdownMenu.Trigger>
        <DropdownMenu.Portal>
          <DropdownMenu.Content class={css.menu} aria-label={i18n.t("row.more", { name: props.name })}>
            <DropdownMenu.Item class={css.item} onSelect={() => location.assign(hrefOf(props.session))}>
              {i18n.t("action.open")}
            </DropdownMenu.Item>
            <DropdownMenu.Item class={css.item} onSelect={() => void copy(address())}>
              {i18n.t("action.copyLink")}
            </DropdownMenu.Item>
            <DropdownMenu.Item class={css.item} onSelect={() => setDialog("attach")}>
              {i18n.t("action.attach")}
            </DropdownMenu.Item>
            <DropdownMenu.Item class={css.item} onSelect={() => setDialog("logs")}>
              {i18n.t("action.logs")}
            </DropdownMenu.Item>
            <DropdownMenu.Separator class={css.line} />
            <DropdownMenu.Item class={`${css.item} ${css.danger}`} onSelect={() => setDialog("delete")}>
              {i18n.t("action.delete")}
            </DropdownMenu.Item>
          </DropdownMenu.Content>
        </DropdownMenu.Portal>
      </DropdownMenu>
      <Show when={dialog() === "attach"}>
        <Suspense>
          <AttachDialog hash={props.session.hash} name={props.name} onClose={() => setDialog(undefined)} />
        </Suspense>
      </Show>
      <Show when={dialog() === "logs"}>
        <LogsDialog
          name={props.name}
          load={() => api.logs(props.session.hash)}
          onClose={() => setDialog(undefined)}
        />
      </Show>
      <Show when={dialog() === "delete"}>
        <DeleteDialog session={props.session} name={props.name} onClose={() => setDialog(undefined)} />
      </Show>
    </>
  );
}
