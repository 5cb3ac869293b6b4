// The list of the user's sessions.

import Search from "lucide-solid/icons/search";
import { createMemo, createSignal, For, Show } from "solid-js";
import type { Session } from "../api/client";
import { useSite } from "../context";
import { useI18n } from "../i18n";
import { createNow } from "../lib/time";
import controls from "../styles/controls.module.css";
import css from "./SessionList.module.css";
import { SessionRow } from "./SessionRow";

/** With this many sessions, the list gets a search field. */
const SEARCH_FROM = 9;

/** The caller's sessions, newest activity first. Under the pointer the rows keep their order. */
export function SessionList() {
  const i18n = useI18n();
  const { sessions } = useSite();
  const now = createNow(15_000);
  const [search, setSearch] = createSignal("");
  const [hovered, setHovered] = createSignal(false);
  // One at a time: each holds an event stream, and a browser has few connections to one host.
  const [unfolded, setUnfolded] = createSignal<string>();

  const ordered = createMemo<Session[]>((previous) => {
    const all = [...sessions.list.sessions];
    const positions = new Map(previous.map((session, position) => [session.hash, position]));
    const position = (session: Session) => positions.get(session.hash) ?? -1;
    return hovered()
      ? all.sort((a, b) => position(a) - position(b))
      : all.sort((a, b) => Date.parse(b.lastActivity) - Date.parse(a.lastActivity));
  }, []);
  const matching = createMemo(() => {
    const words = search().toLowerCase().split(/\s+/).filter(Boolean);
    const text = (session: Session) =>
      [session.repoUrl, session.branch, session.title, session.description, session.hash]
        .join(" ")
        .toLowerCase();
    return ordered().filter((session) => words.every((word) => text(session).includes(word)));
  });

  return (
    <section aria-labelledby="sessions-title" class={css.section}>
      <div class={css.head}>
        <h2 id="sessions-title">{i18n.t("list.title")}</h2>
        <Show when={ordered().length >= SEARCH_FROM}>
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
        when={ordered().length > 0}
        fallback={
          <p class={css.empty}>
            {i18n.t(sessions.connection() === "loading" ? "list.loading" : "list.empty")}
          </p>
        }
      >
        <Show when={matching().length > 0} fallback={<p class={css.empty}>{i18n.t("list.noMatch")}</p>}>
          <ul
            class={`${controls.panel} ${css.list}`}
            onPointerEnter={() => setHovered(true)}
            onPointerLeave={() => setHovered(false)}
          >
            <For each={matching()}>
              {(session) => (
                <SessionRow
                  session={session}
                  now={now()}
                  open={unfolded() === session.hash}
                  onToggle={(open) => setUnfolded(open ? session.hash : undefined)}
                />
              )}
            </For>
          </ul>
        </Show>
      </Show>
    </section>
  );
}
