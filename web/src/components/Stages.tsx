// The stages of a session's start, each with its time.

import Check from "lucide-solid/icons/check";
import X from "lucide-solid/icons/x";
import { For, Match, Show, Switch } from "solid-js";
import type { Stage } from "../api/client";
import { useI18n } from "../i18n";
import { bytes, duration } from "../lib/time";
import controls from "../styles/controls.module.css";
import css from "./Stages.module.css";

/** The stages of a start, each with its duration. */
export function Stages(props: { stages: Stage[]; now: number }) {
  const i18n = useI18n();
  const time = (stage: Stage) => {
    if (!stage.startedAt) return "";
    const end = stage.endedAt ? Date.parse(stage.endedAt) : props.now;
    return duration(i18n.language(), end - Date.parse(stage.startedAt));
  };
  return (
    <ol class={css.stages}>
      <For each={props.stages}>
        {(stage) => (
          <li
            class={css.stage}
            data-status={stage.status}
            aria-current={stage.status === "active" ? "step" : undefined}
          >
            <span class={css.mark} aria-hidden="true">
              <Switch fallback={<span class={css.ring} />}>
                <Match when={stage.status === "done"}>
                  <Check size={14} />
                </Match>
                <Match when={stage.status === "failed"}>
                  <X size={14} />
                </Match>
                <Match when={stage.status === "active"}>
                  <span class={controls.spinner} />
                </Match>
              </Switch>
            </span>
            <span class={css.label}>
              <span class={css.name}>
                {i18n.t(`stage.${stage.stage}`)}
                <span class="visually-hidden">: {i18n.t(`stage.${stage.status}`)}</span>
              </span>
              <Show when={stage.status === "active"}>
                <span class={css.activity}>{activity(i18n, stage)}</span>
              </Show>
            </span>
            <span class={css.time}>{time(stage)}</span>
          </li>
        )}
      </For>
    </ol>
  );
}

/** Returns "Cloning… 43 %, 12 of 28 MB". git prints no total size, so it is estimated from the percentage. */
function activity(i18n: ReturnType<typeof useI18n>, stage: Stage): string {
  const words = [i18n.t(`stage.activity.${stage.stage}`)];
  const language = i18n.language();
  if (stage.percent != null) {
    const percent = new Intl.NumberFormat(language, { style: "percent" }).format(stage.percent / 100);
    const total = stage.bytes && stage.percent > 0 ? (stage.bytes * 100) / stage.percent : 0;
    const sizes = { done: bytes(language, stage.bytes ?? 0), total: bytes(language, total) };
    words.push(total && stage.percent < 100 ? `${percent}, ${i18n.t("stage.ofBytes", sizes)}` : percent);
  }
  if (stage.message && stage.stage === "cloning") words.push(`(${stage.message})`);
  return words.join(" ");
}
