import Copy from "lucide-solid/icons/copy";
import RotateCw from "lucide-solid/icons/rotate-cw";
import Trash from "lucide-solid/icons/trash";
import { onMount, Show } from "solid-js";
import type { Session } from "../api/client";
import { useSite } from "../context";
import { useI18n } from "../i18n";
import { copyText } from "../lib/copy";
import { reasonOf } from "../lib/names";
import { Stages } from "../parts/Stages";
import controls from "../styles/controls.module.css";
import css from "./Session.module.css";
import type { Acts } from "./SessionScreen";

export function Failed(props: { session: Session; acts: Acts }) {
  const i18n = useI18n();
  const { announce } = useSite();
  let retry: HTMLButtonElement | undefined;
  onMount(() => retry?.focus());
  const reason = () => reasonOf(i18n, props.session);
  // Where cloning failed there is nothing to keep yet.
  const hasFiles = () =>
    props.session.stages.every((stage) => stage.stage !== "cloning" || stage.status === "done");
  const log = () => props.session.reason?.logTail;
  const copy = async () => {
    await copyText(log() ?? "");
    announce(i18n.t("action.copied"));
  };
  return (
    <>
      <section class={`${controls.panel} ${css.card}`} aria-labelledby="failed-title">
        <h2 id="failed-title">{i18n.t("failed.title")}</h2>
        <Stages stages={props.session.stages} now={Date.parse(props.session.stateSince)} />
        <p class={css.sentence} role="alert">
          {reason().what}
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
              <button type="button" class={controls.button} onClick={() => void copy()}>
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
          disabled={props.acts.busy}
          onClick={props.acts.resume}
        >
          <RotateCw size={14} aria-hidden="true" />
          {i18n.t("action.retry")}
        </button>
        <button type="button" class={controls.button} disabled={props.acts.busy} onClick={props.acts.remove}>
          <Trash size={14} aria-hidden="true" />
          {i18n.t("action.delete")}
        </button>
      </div>
    </>
  );
}
