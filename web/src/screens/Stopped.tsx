// The screen of a stopped session: why and when it stopped, and how to resume it.

import { useSearchParams } from "@solidjs/router";
import Play from "lucide-solid/icons/play";
import Trash from "lucide-solid/icons/trash";
import { createEffect, Show } from "solid-js";
import type { Session } from "../api/client";
import { useI18n } from "../i18n";
import { reasonOf } from "../lib/session";
import { moment } from "../lib/time";
import controls from "../styles/controls.module.css";
import css from "./Session.module.css";
import type { SessionActions } from "./SessionScreen";

export function Stopped(props: { session: Session; actions: SessionActions }) {
  const i18n = useI18n();
  let resume: HTMLButtonElement | undefined;
  const [query] = useSearchParams<{ "not-started"?: string }>();
  // Why the request that led here did not start the session.
  const refusal = () => {
    const key = `notStarted.${query["not-started"]}`;
    return i18n.has(key) ? i18n.t(key) : "";
  };
  const isStopping = () => props.session.state === "stopping";
  createEffect(() => {
    if (!isStopping()) resume?.focus();
  });
  return (
    <>
      <section class={`${controls.panel} ${css.card}`} aria-labelledby="stopped-title">
        <h2 id="stopped-title">{i18n.t(isStopping() ? "stopping.title" : "stopped.title")}</h2>
        <Show when={!isStopping()}>
          <p class={css.sentence}>
            {reasonOf(i18n, props.session).message}{" "}
            {i18n.t("stopped.since", { when: moment(i18n.language(), Date.parse(props.session.stateSince)) })}
          </p>
        </Show>
        <p>{i18n.t("stopped.kept")}</p>
        <Show when={!isStopping() && refusal()}>
          <p class={controls.error} role="alert">
            {refusal()}
          </p>
        </Show>
      </section>
      <div class={css.actions}>
        <button
          ref={resume}
          type="button"
          class={`${controls.button} ${controls.primary}`}
          disabled={props.actions.busy || isStopping()}
          onClick={props.actions.resume}
        >
          <Play size={14} aria-hidden="true" />
          {i18n.t("action.resume")}
        </button>
        <button
          type="button"
          class={controls.button}
          disabled={props.actions.busy || isStopping()}
          onClick={props.actions.remove}
        >
          <Trash size={14} aria-hidden="true" />
          {i18n.t("action.delete")}
        </button>
      </div>
    </>
  );
}
