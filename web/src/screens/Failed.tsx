// The screen of a failed session: what happened, what to do, and the log.

import Copy from "lucide-solid/icons/copy";
import RotateCw from "lucide-solid/icons/rotate-cw";
import Trash from "lucide-solid/icons/trash";
import { onMount, Show } from "solid-js";
import type { Session } from "../api/client";
import { Stages } from "../components/Stages";
import { useI18n } from "../i18n";
import { createCopy } from "../lib/copy";
import { reasonOf } from "../lib/session";
import controls from "../styles/controls.module.css";
import css from "./Session.module.css";
import type { SessionActions } from "./SessionScreen";

export function Failed(props: { session: Session; actions: SessionActions }) {
  const i18n = useI18n();
  const copy = createCopy();
  let retry: HTMLButtonElement | undefined;
  onMount(() => retry?.focus());
  const reason = () => reasonOf(i18n, props.session);
  // There are no files until cloning has succeeded.
  const hasFiles = () =>
    props.session.stages.every((stage) => stage.stage !== "cloning" || stage.status === "done");
  const log = () => props.session.reason?.logTail;
  return (
    <>
      <section class={`${controls.panel} ${css.card}`} aria-labelledby="failed-title">
        <h2 id="failed-title">{i18n.t("failed.title")}</h2>
        <Stages stages={props.session.stages} now={Date.parse(props.session.stateSince)} />
        <p class={css.sentence} role="alert">
          {reason().message}
        </p>
        <p>
          {reason().advice} {hasFiles() && i18n.t("failed.kept")}
        </p>
        <Show when={log()}>
          <details class={css.log}>
            <summary>{i18n.t("failed.log")}</summary>
            <div class={css.logBox}>
              <pre class={controls.log} tabindex="0">
                {log()}
              </pre>
              <button type="button" class={controls.button} onClick={() => void copy(log() ?? "")}>
                <Copy size={14} aria-hidden="true" />
                {i18n.t("action.copy")}
              </button>
            </div>
          </details>
        </Show>
      </section>
      <div class={css.actions}>
        <button
          ref={retry}
          type="button"
          class={`${controls.button} ${controls.primary}`}
          disabled={props.actions.busy}
          onClick={props.actions.resume}
        >
          <RotateCw size={14} aria-hidden="true" />
          {i18n.t("action.retry")}
        </button>
        <button
          type="button"
          class={controls.button}
          disabled={props.actions.busy}
          onClick={props.actions.remove}
        >
          <Trash size={14} aria-hidden="true" />
          {i18n.t("action.delete")}
        </button>
      </div>
    </>
  );
}
