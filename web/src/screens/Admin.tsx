// The screen of administrators: everybody's sessions, but nothing that is in them.

import ArrowDown from "lucide-solid/icons/arrow-down";
import ArrowUp from "lucide-solid/icons/arrow-up";
import FileText from "lucide-solid/icons/file-text";
import Search from "lucide-solid/icons/search";
import Square from "lucide-solid/icons/square";
import Trash from "lucide-solid/icons/trash";
import { createMemo, createResource, createSignal, For, onCleanup, Show } from "solid-js";
import { type AdminSession, ApiError, api } from "../api/client";
import { ConfirmDialog } from "../components/ConfirmDialog";
import { LogsDialog } from "../components/LogsDialog";
import { Title } from "../components/Title";
import { useSite } from "../context";
import { type Key, useI18n } from "../i18n";
import { sentence } from "../lib/errors";
import { repoName } from "../lib/repo";
import { bytes, createNow, relative } from "../lib/time";
import controls from "../styles/controls.module.css";
import css from "./Admin.module.css";
import { Missing } from "./Missing";

const REFRESH_MS = 5_000;

type Column = { key: Key; value: (session: AdminSession) => string | number; descends?: boolean };
const COLUMNS: Column[] = [
  { key: "admin.owner", value: (session) => session.email },
  { key: "admin.session", value: (session) => `${session.repoUrl ?? ""} ${session.branch ?? ""}` },
  { key: "admin.state", value: (session) => session.state },
  { key: "admin.node", value: (session) => session.node ?? "" },
  { key: "admin.cpu", value: (session) => session.cpuMillicores ?? -1, descends: true },
  { key: "admin.memory", value: (session) => session.memoryBytes ?? -1, descends: true },
  { key: "admin.active", value: (session) => session.lastActivity, descends: true },
  { key: "admin.created", value: (session) => session.createdAt, descends: true },
];

/** Everybody's sessions as a table: filter, sort, stop, logs, delete. It is read again every few seconds. */
export default function Admin() {
  const i18n = useI18n();
  const { announce } = useSite();
  const now = createNow(15_000);
  const [list, { refetch }] = createResource(() => api.admin.list());
  const timer = setInterval(() => document.visibilityState === "visible" && void refetch(), REFRESH_MS);
  onCleanup(() => clearInterval(timer));
  const [search, setSearch] = createSignal("");
  const [order, setOrder] = createSignal<{ key: Key; descends: boolean }>({
    key: "admin.active",
    descends: true,
  });
  const [dialog, setDialog] = createSignal<{ kind: "logs" | "stop" | "delete"; session: AdminSession }>();

  const isMissing = () => list.error instanceof ApiError && list.error.status === 404;
  const name = (session: AdminSession) =>
    `${session.repoUrl ? repoName(session.repoUrl) : i18n.t("row.newProject")} ${session.branch ?? ""}`.trim();
  const shown = createMemo(() => {
    const words = search().toLowerCase().split(/\s+/).filter(Boolean);
    const text = (session: AdminSession) =>
      [session.email, session.repoUrl, session.branch, session.hash, session.node, session.state]
        .join(" ")
        .toLowerCase();
    const column = COLUMNS.find(({ key }) => key === order().key) ?? (COLUMNS[0] as Column);
    const sign = order().descends ? -1 : 1;
    const all = (list.error ? [] : (list.latest?.sessions ?? [])).filter((session) =>
      words.every((word) => text(session).includes(word)),
    );
    return all.sort((a, b) => {
      const [one, other] = [column.value(a), column.value(b)];
      return sign * (one < other ? -1 : one > other ? 1 : 0);
    });
  });
  const sortBy = ({ key, descends = false }: Column) =>
    setOrder((order) => ({ key, descends: order.key === key ? !order.descends : descends }));
  const done = (key: Key, session: AdminSession) => {
    announce(i18n.t(key, { name: name(session) }));
    setDialog(undefined);
    void refetch();
  };

  return (
    <Show when={!isMissing()} fallback={<Missing />}>
      <div class={css.screen}>
        <Title text={i18n.t("admin.title")} />
        <div class={css.head}>
          <h1 class={css.title}>{i18n.t("admin.title")}</h1>
          <span class={css.count}>{i18n.plural("admin.count", shown().length)}</span>
          <label class={css.search}>
            <span class="visually-hidden">{i18n.t("list.search")}</span>
            <Search class={css.searchIcon} size={14} aria-hidden="true" />
            <input
              type="search"
              class={controls.field}
              placeholder={i18n.t("admin.search")}
              value={search()}
              onInput={(event) => setSearch(event.currentTarget.value)}
            />
          </label>
        </div>
        <p class={css.note}>{i18n.t("admin.note")}</p>
        <Show when={list.error}>
          <p class={controls.error} role="alert">
            {sentence(i18n, list.error)}
          </p>
        </Show>
        <div class={`${controls.panel} ${css.frame}`}>
          <table class={css.table}>
            <caption class="visually-hidden">{i18n.t("admin.title")}</caption>
            <thead>
              <tr>
                <For each={COLUMNS}>
                  {(column) => (
                    <th
                      scope="col"
                      aria-sort={
                        order().key !== column.key ? "none" : order().descends ? "descending" : "ascending"
                      }
                    >
                      <button type="button" class={css.sort} onClick={() => sortBy(column)}>
                        {i18n.t(column.key)}
                        <Show when={order().key === column.key}>
                          <Show when={order().descends} fallback={<ArrowUp size={12} aria-hidden="true" />}>
                            <ArrowDown size={12} aria-hidden="true" />
                          </Show>
                        </Show>
                      </button>
                    </th>
                  )}
                </For>
                <th scope="col">
                  <span class="visually-hidden">{i18n.t("admin.actions")}</span>
                </th>
              </tr>
            </thead>
            <tbody>
              <For each={shown()}>
                {(session) => (
                  <Row
                    session={session}
                    name={name(session)}
                    now={now()}
                    choose={(kind) => setDialog({ kind, session })}
                  />
                )}
              </For>
            </tbody>
          </table>
          <Show when={!list.loading && shown().length === 0 && !list.error}>
            <p class={css.empty}>{i18n.t(search() ? "list.noMatch" : "admin.empty")}</p>
          </Show>
        </div>
        <Show when={dialog()} keyed>
          {({ kind, session }) => (
            <>
              <Show when={kind === "logs"}>
                <LogsDialog
                  name={`${session.email}, ${name(session)}`}
                  load={() => api.admin.logs(session.hash)}
                  onClose={() => setDialog(undefined)}
                />
              </Show>
              <Show when={kind === "stop"}>
                <ConfirmDialog
                  title={i18n.t("admin.stopTitle")}
                  text={i18n.t("admin.stopText", { name: name(session), email: session.email })}
                  action={i18n.t("action.stop")}
                  run={() => api.admin.stop(session.hash)}
                  onClose={() => setDialog(undefined)}
                  onDone={() => done("admin.stopped", session)}
                />
              </Show>
              <Show when={kind === "delete"}>
                <ConfirmDialog
                  title={i18n.t("delete.title")}
                  text={i18n.t("admin.deleteText", { name: name(session), email: session.email })}
                  action={i18n.t("action.delete")}
                  run={() => api.admin.remove(session.hash)}
                  onClose={() => setDialog(undefined)}
                  onDone={() => done("admin.deleted", session)}
                />
              </Show>
            </>
          )}
        </Show>
      </div>
    </Show>
  );
}

function Row(props: {
  session: AdminSession;
  name: string;
  now: number;
  choose: (kind: "logs" | "stop" | "delete") => void;
}) {
  const i18n = useI18n();
  const ago = (at: string) => relative(i18n.language(), Date.parse(at), props.now);
  const label = (action: Key) => `${i18n.t(action)}: ${props.session.email}, ${props.name}`;
  const known = (value: number | null | undefined, text: (value: number) => string) =>
    typeof value === "number" ? text(value) : "–";
  const isActive = () => ["creating", "running"].includes(props.session.state);
  return (
    <tr data-hash={props.session.hash}>
      <td data-label={i18n.t("admin.owner")}>{props.session.email}</td>
      <td data-label={i18n.t("admin.session")}>
        {props.session.repoUrl ? repoName(props.session.repoUrl) : i18n.t("row.newProject")}{" "}
        <code>{props.session.branch}</code>
      </td>
      <td data-label={i18n.t("admin.state")} title={props.session.reason?.message}>
        <span class={css.state}>
          <span class={controls.dot} data-state={props.session.state} aria-hidden="true" />
          {i18n.t(`state.${props.session.state}`)}
          <Show when={props.session.busy}>, {i18n.t("row.busy")}</Show>
        </span>
      </td>
      <td data-label={i18n.t("admin.node")}>{props.session.node ?? "–"}</td>
      <td data-label={i18n.t("admin.cpu")}>{known(props.session.cpuMillicores, (cpu) => `${cpu} m`)}</td>
      <td data-label={i18n.t("admin.memory")}>
        {known(props.session.memoryBytes, (count) => bytes(i18n.language(), count))}
      </td>
      <td data-label={i18n.t("admin.active")}>{ago(props.session.lastActivity)}</td>
      <td data-label={i18n.t("admin.created")}>{ago(props.session.createdAt)}</td>
      <td class={css.actions}>
        <button
          type="button"
          class={`${controls.button} ${controls.quiet} ${controls.icon}`}
          aria-label={label("action.stop")}
          title={i18n.t("action.stop")}
          disabled={!isActive()}
          onClick={() => props.choose("stop")}
        >
          <Square size={14} aria-hidden="true" />
        </button>
        <button
          type="button"
          class={`${controls.button} ${controls.quiet} ${controls.icon}`}
          aria-label={label("action.logs")}
          title={i18n.t("action.logs")}
          onClick={() => props.choose("logs")}
        >
          <FileText size={14} aria-hidden="true" />
        </button>
        <button
          type="button"
          class={`${controls.button} ${controls.quiet} ${controls.icon}`}
          aria-label={label("action.delete")}
          title={i18n.t("action.delete")}
          onClick={() => props.choose("delete")}
        >
          <Trash size={14} aria-hidden="true" />
        </button>
      </td>
    </tr>
  );
}
