// The dialog for `opencode attach`: creates, shows and revokes a session's tokens.

import { createResource, createSignal, For, Show } from "solid-js";
import { api, type NewAttachToken } from "../api/client";
import { useI18n } from "../i18n";
import { attachCommand, promptingCommand } from "../lib/attach";
import { createCopy } from "../lib/copy";
import { sentence } from "../lib/errors";
import { relative } from "../lib/time";
import controls from "../styles/controls.module.css";
import css from "./AttachDialog.module.css";
import { Dialog } from "./Dialog";

const DAYS = [1, 7, 30, 90, 365];

export function AttachDialog(props: { hash: string; name: string; onClose: () => void }) {
  const i18n = useI18n();
  const copy = createCopy();
  const [failure, setFailure] = createSignal("");
  const [info, { refetch }] = createResource(() =>
    api.attachInfo(props.hash).catch((error) => {
      setFailure(sentence(i18n, error));
      return undefined;
    }),
  );
  const [name, setName] = createSignal("");
  const [days, setDays] = createSignal<number>();
  const [busy, setBusy] = createSignal(false);
  const [created, setCreated] = createSignal<NewAttachToken>();
  let result: HTMLButtonElement | undefined;

  const choices = () => {
    const { defaultDays = 30, maxDays = 90 } = info.latest ?? {};
    const all = [...DAYS, defaultDays, maxDays].filter((count) => count <= maxDays);
    return [...new Set(all)].sort((one, other) => one - other);
  };
  const chosenDays = () => days() ?? info.latest?.defaultDays;

  const run = async (action: () => Promise<unknown>) => {
    setBusy(true);
    setFailure("");
    try {
      await action();
      await refetch();
    } catch (error) {
      setFailure(sentence(i18n, error));
    } finally {
      setBusy(false);
    }
  };
  const create = (event: SubmitEvent) => {
    event.preventDefault();
    void run(async () => {
      setCreated(await api.createAttachToken(props.hash, { name: name(), expiresInDays: chosenDays() }));
      setName("");
      queueMicrotask(() => result?.focus());
    });
  };
  const revoke = (id: string) =>
    run(async () => {
      await api.revokeAttachToken(props.hash, id);
      if (created()?.id === id) setCreated(undefined);
    });
  const revokeAll = () =>
    run(async () => {
      await api.revokeAttachTokens(props.hash);
      setCreated(undefined);
    });
  const parts = (token: NewAttachToken) => ({
    attachUrl: token.attachUrl,
    sessionId: info.latest?.sessionId,
    site: location.origin,
  });

  return (
    <Dialog open onClose={props.onClose} title={i18n.t("attach.title", { name: props.name })}>
      <p>{i18n.t("attach.about")}</p>
      <form class={css.form} onSubmit={create}>
        <label class={css.name}>
          <span class={css.label}>{i18n.t("attach.name")}</span>
          <input
            class={controls.field}
            value={name()}
            onInput={(event) => setName(event.currentTarget.value)}
            maxlength="60"
            autocomplete="off"
            placeholder={i18n.t("attach.namePlaceholder")}
          />
        </label>
        <label class={css.days}>
          <span class={css.label}>{i18n.t("attach.validFor")}</span>
          <select class={controls.field} onChange={(event) => setDays(Number(event.currentTarget.value))}>
            <For each={choices()}>
              {(count) => (
                <option value={count} selected={count === chosenDays()}>
                  {i18n.plural("attach.days", count)}
                </option>
              )}
            </For>
          </select>
        </label>
        <button
          type="submit"
          class={`${controls.button} ${controls.primary}`}
          disabled={busy() || !info.latest}
        >
          {i18n.t("attach.create")}
        </button>
      </form>
      <Show when={failure()}>
        <p class={controls.error} role="alert">
          {failure()}
        </p>
      </Show>
      <Show when={created()}>
        {(token) => (
          <section class={css.created} aria-label={i18n.t("attach.command")}>
            <p class={css.heading}>{i18n.t("attach.command")}</p>
            <pre class={css.command} tabindex="0" data-command>
              {attachCommand({ ...parts(token()), token: token().token })}
            </pre>
            <p class={css.hint}>{i18n.t("attach.once")}</p>
            <div class={css.buttons}>
              <button
                ref={result}
                type="button"
                class={`${controls.button} ${controls.primary}`}
                onClick={() => void copy(attachCommand({ ...parts(token()), token: token().token }))}
              >
                {i18n.t("attach.copyCommand")}
              </button>
              <button
                type="button"
                class={controls.button}
                onClick={() => void copy(promptingCommand(parts(token())))}
              >
                {i18n.t("attach.copyPrompting")}
              </button>
              <button type="button" class={controls.button} onClick={() => void copy(token().token)}>
                {i18n.t("attach.copyToken")}
              </button>
            </div>
            <p class={css.hint}>{i18n.t("attach.history")}</p>
          </section>
        )}
      </Show>
      <Show when={info.latest?.originalPassword}>
        <p class={css.hint}>{i18n.t("attach.original")}</p>
      </Show>
      <Show when={info.latest?.tokens.length}>
        <p class={css.heading}>{i18n.t("attach.tokens")}</p>
        <ul class={css.tokens}>
          <For each={info.latest?.tokens}>
            {(token) => (
              <li class={css.token}>
                <span class={css.tokenText}>
                  {token.name || i18n.t("attach.unnamed")}{" "}
                  <span class={css.meta}>
                    {i18n.t("attach.expires", {
                      in: relative(i18n.language(), Date.parse(token.expiresAt), Date.now()),
                    })}
                  </span>
                </span>
                <button
                  type="button"
                  class={controls.button}
                  disabled={busy()}
                  aria-label={`${i18n.t("attach.revoke")}: ${token.name || i18n.t("attach.unnamed")}`}
                  onClick={() => void revoke(token.id)}
                >
                  {i18n.t("attach.revoke")}
                </button>
              </li>
            )}
          </For>
        </ul>
        <p class={css.hint}>{i18n.t("attach.revoked")}</p>
      </Show>
      <div class={controls.actions}>
        <Show when={(info.latest?.tokens.length ?? 0) > 1 || info.latest?.originalPassword}>
          <button type="button" class={controls.button} disabled={busy()} onClick={() => void revokeAll()}>
            {i18n.t("attach.revokeAll")}
          </button>
        </Show>
        <button type="button" class={controls.button} onClick={props.onClose}>
          {i18n.t("action.close")}
        </button>
      </div>
    </Dialog>
  );
}
