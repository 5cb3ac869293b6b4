// The latest messages of a session, live.

import { createSignal, For, onCleanup, Show } from "solid-js";
import { createStore, reconcile } from "solid-js/store";
import type { components } from "../api/schema";
import { useI18n } from "../i18n";
import controls from "../styles/controls.module.css";
import css from "./Messages.module.css";

type Message = components["schemas"]["ThreadMessage"];
type Thread = components["schemas"]["Thread"];

const RETRY_MS = 3_000;
/** Who has scrolled up by more than this many pixels does not want to follow the end. */
const AT_END_PX = 24;

export function Messages(props: { id: string; hash: string; name: string }) {
  const i18n = useI18n();
  const [thread, setThread] = createStore<{ messages: Message[] }>({ messages: [] });
  const [loaded, setLoaded] = createSignal(false);
  let region!: HTMLElement;
  let following = true;

  const show = (messages: Message[]) => {
    setThread("messages", reconcile(messages, { key: "partID" }));
    setLoaded(true);
    if (following) queueMicrotask(() => region.scrollTo({ top: region.scrollHeight }));
  };
  /** Replaces the text, or adds it at its place: ids ascend with time. */
  const merge = (message: Message) => {
    const others = thread.messages.filter(({ partID }) => partID !== message.partID);
    const order = (one: Message) => one.messageID + one.partID;
    const later = others.findIndex((other) => order(other) > order(message));
    show(others.toSpliced(later < 0 ? others.length : later, 0, message));
  };
  createStream(`/api/sessions/${props.hash}/progress/stream`, {
    snapshot: (data) => show((data as Thread).messages),
    message: (data) => merge(data as Message),
  });

  return (
    <section
      ref={region}
      id={props.id}
      class={css.messages}
      aria-label={i18n.t("messages.title", { name: props.name })}
      // It scrolls, so the keyboard has to reach it.
      tabindex="0"
      onScroll={() => {
        following = region.scrollTop + region.clientHeight >= region.scrollHeight - AT_END_PX;
      }}
    >
      <Show when={loaded()} fallback={<span class={controls.spinner} />}>
        <Show
          when={thread.messages.length > 0}
          fallback={<p class={css.empty}>{i18n.t("messages.empty")}</p>}
        >
          <ol class={css.list}>
            <For each={thread.messages}>
              {(message) => (
                <li data-role={message.role}>
                  <p class={css.author}>{i18n.t(`messages.${message.role}`)}</p>
                  <p class={css.text}>{message.text}</p>
                </li>
              )}
            </For>
          </ol>
        </Show>
      </Show>
    </section>
  );
}

/**
 * Opens an event stream while the page is visible, and again if it fails. A browser has few connections to
 * one host, so a hidden page holds none.
 */
function createStream(url: string, handlers: Record<string, (data: unknown) => void>) {
  let source: EventSource | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const close = () => {
    clearTimeout(timer);
    source?.close();
    source = undefined;
  };
  const connect = () => {
    close();
    if (document.visibilityState === "hidden") return;
    const stream = new EventSource(url);
    source = stream;
    for (const [name, handle] of Object.entries(handlers)) {
      stream.addEventListener(name, (event) => handle(JSON.parse((event as MessageEvent<string>).data)));
    }
    // An EventSource does not always reconnect by itself.
    stream.onerror = () => {
      close();
      timer = setTimeout(connect, RETRY_MS);
    };
  };
  connect();
  document.addEventListener("visibilitychange", connect);
  addEventListener("online", connect);
  onCleanup(() => {
    close();
    document.removeEventListener("visibilitychange", connect);
    removeEventListener("online", connect);
  });
}
