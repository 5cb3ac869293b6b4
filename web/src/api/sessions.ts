// The user's sessions: one list, kept current by the event stream or, without it, by polling.

import { createSignal, onCleanup } from "solid-js";
import { createStore, reconcile } from "solid-js/store";
import { api, type Session, type SessionList, SignedOut } from "./client";

/** Whether the list of sessions is current and, if not, why. */
export type Connection = "loading" | "live" | "offline" | "unreachable" | "signedOut";

const RETRY_MS = 3_000;
const POLL_MS = 5_000;
/** While a session starts or stops, somebody is probably watching it. */
const POLL_CHANGING_MS = 1_000;
/** A proxy is buffering a stream that has not sent its first event by then. */
const STREAM_TIMEOUT_MS = 4_000;

/**
 * Keeps the caller's sessions current: by the event stream or, if a proxy lets no streams through, by
 * polling. The whole page shares one instance.
 */
export function createSessions() {
  const [list, setList] = createStore<{ email: string; sessions: Session[] }>({ email: "", sessions: [] });
  const [connection, setConnection] = createSignal<Connection>("loading");
  let source: EventSource | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let disposed = false;
  // How many lists the stream has sent.
  let streamed = 0;

  const update = (next: SessionList) => {
    setList("email", next.email);
    setList("sessions", reconcile(next.sessions, { key: "hash" }));
    setConnection("live");
  };

  const schedule = (run: () => void, delay: number) => {
    clearTimeout(timer);
    if (!disposed) timer = setTimeout(run, delay);
  };

  /** Fetches the list once. Returns whether that succeeded. */
  const refresh = async () => {
    try {
      const before = streamed;
      const fetched = await api.list();
      // A list that the stream sent meanwhile is newer, and may be the last one for long.
      if (streamed === before) update(fetched);
      return true;
    } catch (error) {
      const failure = error instanceof SignedOut ? "signedOut" : navigator.onLine ? "unreachable" : "offline";
      if (!disposed) setConnection(failure);
      return false;
    }
  };

  const connect = () => {
    if (disposed) return;
    source?.close();
    if (typeof EventSource === "undefined") return void poll();
    let opened = false;
    const stream = new EventSource("/api/sessions/stream");
    source = stream;
    schedule(() => {
      stream.close();
      poll();
    }, STREAM_TIMEOUT_MS);
    stream.addEventListener("sessions", (event) => {
      if (!opened) clearTimeout(timer);
      opened = true;
      streamed += 1;
      update(JSON.parse((event as MessageEvent<string>).data) as SessionList);
    });
    stream.onerror = () => {
      // An EventSource does not report why it failed and does not always reconnect, so a request finds out.
      stream.close();
      void refresh().then((answered) => {
        // If the API answers but the stream never opened, a proxy lets no streams through.
        schedule(answered && !opened ? poll : connect, answered && opened ? 0 : RETRY_MS);
      });
    };
  };

  const poll = () => {
    void refresh().then(() => {
      const isChanging = list.sessions.some(({ state }) => state === "creating" || state === "stopping");
      schedule(poll, isChanging ? POLL_CHANGING_MS : POLL_MS);
    });
  };

  connect();
  // The first list does not wait for the stream.
  void refresh();
  const onOnline = () => connect();
  const onOffline = () => setConnection("offline");
  // A page that the browser restores from its cache has lost its stream.
  const onPageShow = (event: PageTransitionEvent) => event.persisted && connect();
  addEventListener("online", onOnline);
  addEventListener("offline", onOffline);
  addEventListener("pageshow", onPageShow);
  onCleanup(() => {
    disposed = true;
    source?.close();
    clearTimeout(timer);
    removeEventListener("online", onOnline);
    removeEventListener("offline", onOffline);
    removeEventListener("pageshow", onPageShow);
  });

  return {
    list,
    connection,
    refresh,
    session: (hash: string) => list.sessions.find((session) => session.hash === hash),
  };
}

export type Sessions = ReturnType<typeof createSessions>;
