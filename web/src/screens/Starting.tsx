// The screen of a session that starts.

import Square from "lucide-solid/icons/square";
import { createMemo, Show } from "solid-js";
import type { Session } from "../api/client";
import { Stages } from "../components/Stages";
import { useI18n } from "../i18n";
import { counting, createNow } from "../lib/time";
import controls from "../styles/controls.module.css";
import css from "./Session.module.css";

/** After this long, the page explains why a first start takes time. */
const SLOW_MS = 10_000;

export function Starting(props: { session: Session; busy: boolean; onStop: () => void }) {
  const i18n = useI18n();
  const now = createNow(200);
  const startedAt = createMemo(() => {
    const times = props.session.stages.flatMap((stage) =>
      stage.startedAt ? [Date.parse(stage.startedAt)] : [],
    );
    return times.length > 0 ? Math.min(...times) : Date.parse(props.session.stateSince);
  });
  const elapsed = () => Math.max(0, now() - startedAt());
  return (
    <>
      <section class={`${controls.panel} ${css.card}`} aria-label={i18n.t("state.creating")}>
        <Stages stages={props.session.stages} now={now()} />
        <p class={css.note}>
          {i18n.t("starting.elapsed", {
            seconds: counting(i18n.language(), elapsed()),
          })}
          {" · "}
          {i18n.t("starting.opens")}
        </p>
        <Show when={elapsed() > SLOW_MS}>
          <p class={css.note}>{i18n.t("starting.slow")}</p>
        </Show>
      </section>
      <div class={css.actions}>
        <button type="button" class={controls.button} disabled={props.busy} onClick={props.onStop}>
          <Square size={14} aria-hidden="true" />
          {i18n.t("action.stop")}
        </button>
      </div>
    </>
  );
}
