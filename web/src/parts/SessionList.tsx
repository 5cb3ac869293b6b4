import Search from "lucide-solid/icons/search";
import { createMemo, createSignal, For, Show } from "solid-js";
import type { Session } from "../api/client";
import { useSite } from "../context";
import { useI18n } from "../i18n";
import { createNow } from "../lib/time";
import controls from "../styles/controls.module.css";
import css from "./SessionList.module.css";
import { SessionRow } from "./SessionRow";

const SEARCH_FROM = 9;

/** The caller's sessions, newest activity first. While the pointer is on them they keep their places. */
export function SessionList() {
  const i18n = useI18n();
  const { sessions } = useSite();
  const now = createNow(15_000);
  const [search, setSearch] = createSignal("");
  const [held, setHeld] = createSignal(false);

  const newest = createMemo<Session[]>((before) => {
    const all = [...sessions.list.sessions];
    const places = new Map(before.map((session, place) => [session.hash, place]));
    const place = (session: Session) => places.get(session.hash) ?? -1;
    return held()
      ? all.sort((a, b) => place(a) - place(b))
      : all.sort((a, b) => Date.parse(b.lastActivity) - Date.parse(a.lastActivity));
  }, []);
  const found = createMemo(() => {
    const words = search().toLowerCase().split(/\s+/).filter(Boolean);
    const text = (session: Session) =>
      [session.repoUrl, session.branch, session.title, session.description, session.hash]
        .join(" ")
        .toLowerCase();
    return newest().filter((session) => words.every((word) => text(session).includes(word)));
  });

  return (
    <section aria-labelledby="sessions-title" class={css.section}>
      <div class={css.head}>
        <h2 id="sessions-title">{i18n.t("list.title")}</h2>
        <Show when={newest().length >= SEARCH_FROM}>
          <label class={css.search}>
            <span class="visually-hidden">{i18n.t("list.search")}</span>
            <Search class={css.searchIcon} size={14} aria-hidden="true" />
            <input
              type="search"
              class={controls.field}
              placeholder={i18n.t("list.search")}
              value={search()}
              onInput={(event) => setSearch(event.currentTarget.value)}
            />
          </label>
        </Show>
      </div>
      <Show
        when={newest().length > 0}
        fallback={
          <p class={css.empty}>{i18n.t(sessions.link() === "loading" ? "list.loading" : "list.empty")}</p>
        }
      >
        <Show when={found().length > 0} fallback={<p class={css.empty}>{i18n.t("list.noMatch")}</p>}>
          <ul
            class={`${controls.panel} ${css.list}`}
            onPointerEnter={() => setHeld(true)}
            onPointerLeave={() => setHeld(false)}
          >
            <For each={found()}>{(session) => <SessionRow session={session} now={now()} />}</For>
          </ul>
        </Show>
      </Show>
    </section>
  );
}
