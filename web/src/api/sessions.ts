import { createSignal, onCleanup } from "solid-js";
import { createStore, reconcile } from "solid-js/store";
import { api, type Session, type SessionList, SignedOut } from "./client";

/** How what is shown relates to the truth. */
export type Link = "loading" | "live" | "offline" | "unreachable" | "signedOut";

const RETRY_MS = 3_000;
const POLL_MS = 5_000;
/** While something starts or stops, a person is looking at it. */
const POLL_MOVING_MS = 1_000;
/** A stream that has said nothing by then is held up by something between. */
const SILENT_MS = 4_000;

/**
 * The caller's sessions, kept current by the event stream; by asking, where the stream does not come through.
 * One of these serves the whole page.
 */
export function createSessions() {
  const [list, setList] = createStore<{ email: string; sessions: Session[] }>({ email: "", sessions: [] });
  const [link, setLink] = createSignal<Link>("loading");
  let events: EventSource | undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  let over = false;

  const show = (next: SessionList) => {
    setList("email", next.email);
    setList("sessions", reconcile(next.sessions, { key: "hash" }));
    setLink("live");
  };

  const later = (what: () => void, after: number) => {
    clearTimeout(timer);
    if (!over) timer = setTimeout(what, after);
  };

  /** Asks once; says why where there is no answer. */
  const ask = async () => {
    try {
      show(await api.list());
      return true;
    } catch (error) {
      if (!over)
        setLink(error instanceof SignedOut ? "signedOut" : navigator.onLine ? "unreachable" : "offline");
      return false;
    }
  };

  const open = () => {
    if (over) return;
    events?.close();
    if (typeof EventSource === "undefined") return void poll();
    let opened = false;
    const source = new EventSource("/api/sessions/stream");
    events = source;
    later(() => {
      source.close();
      poll();
    }, SILENT_MS);
    source.addEventListener("sessions", (event) => {
      if (!opened) clearTimeout(timer);
      opened = true;
      show(JSON.parse((event as MessageEvent<string>).data) as SessionList);
    });
    source.onerror = () => {
      // An EventSource can't say why it failed, and gives up on some answers: so one of us asks.
      source.close();
      void ask().then((answered) => {
        // It answers, and the stream never came: something between lets no streams through.
        later(answered && !opened ? poll : open, answered && opened ? 0 : RETRY_MS);
      });
    };
  };

  const poll = () => {
    void ask().then(() => {
      const moving = list.sessions.some((one) => one.state === "creating" || one.state === "stopping");
      later(poll, moving ? POLL_MOVING_MS : POLL_MS);
    });
  };

  open();
  // A first answer that does not wait for the stream.
  void ask();
  const wake = () => open();
  addEventListener("online", wake);
  const sleep = () => setLink("offline");
  addEventListener("offline", sleep);
  // A page that comes back from the browser's cache has lost its stream.
  const shown = (event: PageTransitionEvent) => event.persisted && open();
  addEventListener("pageshow", shown);
  onCleanup(() => {
    over = true;
    events?.close();
    clearTimeout(timer);
    removeEventListener("online", wake);
    removeEventListener("offline", sleep);
    removeEventListener("pageshow", shown);
  });

  return {
    list,
    link,
    refresh: ask,
    session: (hash: string) => list.sessions.find((one) => one.hash === hash),
  };
}

export type Sessions = ReturnType<typeof createSessions>;
