// One session's row: state, repository, branch, activity and actions.

import ChevronDown from "lucide-solid/icons/chevron-down";
import Ellipsis from "lucide-solid/icons/ellipsis";
import ExternalLink from "lucide-solid/icons/external-link";
import Play from "lucide-solid/icons/play";
import Square from "lucide-solid/icons/square";
import { createSignal, For, lazy, Show, Suspense } from "solid-js";
import { api, type Session } from "../api/client";
import { useI18n } from "../i18n";
import { createAction } from "../lib/action";
import { hrefOf, nameOf, reasonOf } from "../lib/session";
import { relative } from "../lib/time";
import controls from "../styles/controls.module.css";
import css from "./SessionRow.module.css";

// Loaded when the menu is opened first, to keep the first load small.
const RowMenu = lazy(() => import("./RowMenu").then((module) => ({ default: module.RowMenu })));
const Messages = lazy(() => import("./Messages").then((module) => ({ default: module.Messages })));

export function SessionRow(props: {
  session: Session;
  now: number;
  /** Whether the messages are shown. */
  open: boolean;
  onToggle: (open: boolean) => void;
}) {
  const i18n = useI18n();
  const { busy, failure, run } = createAction(() => props.session.hash);
  const [menu, setMenu] = createSignal(false);
  const name = () => nameOf(i18n, props.session);
  const subtitle = () => props.session.title ?? props.session.description;

  const details = () => {
    const session = props.session;
    const parts = [
      i18n.t("row.active", { ago: relative(i18n.language(), Date.parse(session.lastActivity), props.now) }),
    ];
    if (session.state === "running") {
      if (session.waiting) parts.push(i18n.t("row.waiting"));
      else if (session.busy) parts.push(i18n.t("row.busy"));
      // A session whose agent can't be asked is not stopped when idle.
      else if (session.reason) parts.push(reasonOf(i18n, session).message);
      // 0: the session is never stopped when idle.
      else if (session.idleTimeoutMinutes > 0) {
        const stopsAt = Date.parse(session.lastActivity) + session.idleTimeoutMinutes * 60_000;
        parts.push(
          i18n.t("row.stopsIn", { in: relative(i18n.language(), Math.max(stopsAt, props.now), props.now) }),
        );
      }
    }
    return parts.join(" · ");
  };

  // Only a running session can be asked for its messages.
  const isOpen = () => props.open && props.session.state === "running";
  const messagesId = () => `messages-${props.session.hash}`;
  const onKeyDown = (event: KeyboardEvent) => {
    const open = event.key === "ArrowRight";
    if (!open && event.key !== "ArrowLeft") return;
    if (props.session.state !== "running" || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    props.onToggle(open);
  };

  return (
    <li class={css.row} data-hash={props.session.hash} data-open={isOpen() ? "" : undefined}>
      <span class={controls.dot} data-state={props.session.state} aria-hidden="true" />
      <div class={css.text}>
        <a
          class={css.link}
          href={hrefOf(props.session)}
          rel={props.session.url ? "external" : undefined}
          data-row
          onKeyDown={onKeyDown}
        >
          <span class={css.name}>{name()}</span>
          <Show when={props.session.branch}>
            <span class={css.branch}>{props.session.branch}</span>
          </Show>
        </a>
        <Show when={subtitle()}>
          <p class={css.title}>{subtitle()}</p>
        </Show>
        <p class={css.meta}>
          <span class={css.state} data-state={props.session.state}>
            {i18n.t(`state.${props.session.state}`)}
          </span>{" "}
          · {details()}
        </p>
        <Show when={props.session.ports?.length}>
          <ul class={css.ports} aria-label={i18n.t("row.ports", { name: name() })}>
            <For each={props.session.ports}>
              {(port) => (
                <li>
                  <a
                    class={css.port}
                    href={port.url}
                    target="_blank"
                    rel="noopener external"
                    data-port={port.port}
                  >
                    <span>{port.process ?? i18n.t("row.port")}</span>{" "}
                    <span class={css.number}>{port.port}</span>
                    <ExternalLink size={12} aria-hidden="true" />
                  </a>
                </li>
              )}
            </For>
          </ul>
        </Show>
        <Show when={failure()}>
          <p class={controls.error} role="alert">
            {failure()}
          </p>
        </Show>
      </div>
      <div class={css.actions}>
        <Show when={props.session.state === "running"}>
          <button
            type="button"
            class={`${controls.button} ${controls.quiet} ${controls.icon} ${css.unfold}`}
            aria-expanded={isOpen()}
            aria-controls={isOpen() ? messagesId() : undefined}
            aria-label={i18n.t("row.messages", { name: name() })}
            onClick={() => props.onToggle(!props.open)}
          >
            <ChevronDown size={16} aria-hidden="true" />
          </button>
        </Show>
        <Show when={props.session.state === "running" || props.session.state === "creating"}>
          <button
            type="button"
            class={`${controls.button} ${controls.quiet}`}
            disabled={busy()}
            aria-label={`${i18n.t("action.stop")}: ${name()}`}
            onClick={() => void run(api.stop)}
          >
            <Square size={14} aria-hidden="true" />
            {i18n.t("action.stop")}
          </button>
        </Show>
        <Show when={props.session.state === "stopped" || props.session.state === "failed"}>
          <button
            type="button"
            class={`${controls.button} ${controls.quiet}`}
            disabled={busy()}
            aria-label={`${i18n.t(props.session.state === "failed" ? "action.retry" : "action.resume")}: ${name()}`}
            onClick={() => void run(api.resume)}
          >
            <Play size={14} aria-hidden="true" />
            {i18n.t(props.session.state === "failed" ? "action.retry" : "action.resume")}
          </button>
        </Show>
        <Suspense fallback={<span class={controls.spinner} />}>
          <Show
            when={menu()}
            fallback={
              <button
                type="button"
                class={`${controls.button} ${controls.quiet} ${controls.icon}`}
                aria-haspopup="menu"
                aria-label={i18n.t("row.more", { name: name() })}
                onClick={() => setMenu(true)}
              >
                <Ellipsis size={16} aria-hidden="true" />
              </button>
            }
          >
            <RowMenu session={props.session} name={name()} />
          </Show>
        </Suspense>
      </div>
      <Show when={isOpen()}>
        <Suspense fallback={<span class={controls.spinner} />}>
          <Messages id={messagesId()} hash={props.session.hash} name={name()} />
        </Suspense>
      </Show>
    </li>
  );
}
