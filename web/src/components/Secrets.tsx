// A user's secrets: their names, and a form that sets one. A value is never shown, not even while it is
// typed.

import Trash from "lucide-solid/icons/trash";
import { createResource, createSignal, For, Match, Show, Switch } from "solid-js";
import { ApiError, api } from "../api/client";
import { useSite } from "../context";
import { useI18n } from "../i18n";
import { parseDotenv } from "../lib/dotenv";
import { sentence } from "../lib/errors";
import css from "../screens/Settings.module.css";
import controls from "../styles/controls.module.css";
import { ConfirmDialog } from "./ConfirmDialog";
import { PastedSecrets } from "./PastedSecrets";

/** What the caller's sessions have in their environment, beside what everybody's have. */
export function Secrets() {
  const i18n = useI18n();
  const { announce } = useSite();
  const [names, { mutate, refetch }] = createResource(() => api.secrets.list());
  const [name, setName] = createSignal("");
  const [value, setValue] = createSignal("");
  const [pasted, setPasted] = createSignal<ReturnType<typeof parseDotenv>>();
  const [busy, setBusy] = createSignal(false);
  const [failure, setFailure] = createSignal("");
  /** The name to delete; an empty one for all. */
  const [deleting, setDeleting] = createSignal<string>();
  let nameField: HTMLInputElement | undefined;

  const keys = () => (names.error ? [] : (names.latest?.keys ?? []));
  const lines = () => value().split("\n").length;
  const explain = (error: unknown) => {
    const key = error instanceof ApiError ? `secret.${error.code}` : "";
    return i18n.has(key) ? i18n.t(key, { name: name() }) : sentence(i18n, error);
  };
  const run = async (action: () => Promise<{ keys: string[] }>, done: string) => {
    setBusy(true);
    setFailure("");
    try {
      const { keys } = await action();
      mutate({ hasSecret: keys.length > 0, keys });
      setName("");
      setValue("");
      setPasted(undefined);
      announce(done);
      nameField?.focus();
    } catch (error) {
      setFailure(explain(error));
    } finally {
      setBusy(false);
    }
  };
  const set = (event: SubmitEvent) => {
    event.preventDefault();
    const secret = name().trim();
    if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(secret)) {
      setFailure(i18n.t("secret.invalid_secret_name"));
      nameField?.focus();
      return;
    }
    void run(() => api.secrets.set(secret, value()), i18n.t("secret.isSet", { name: secret }));
  };
  /** A .env file that is pasted as a name is read as one. */
  const pasteName = (event: ClipboardEvent) => {
    const text = event.clipboardData?.getData("text/plain") ?? "";
    if (!text.includes("=")) return;
    const parsed = parseDotenv(text);
    if (parsed.variables.length === 0) return;
    event.preventDefault();
    setFailure("");
    setPasted(parsed);
  };
  /** The field itself would drop line ends, which keys need. */
  const pasteValue = (event: ClipboardEvent) => {
    const text = event.clipboardData?.getData("text/plain").replace(/\r\n?/g, "\n") ?? "";
    if (!text.trimEnd().includes("\n")) return;
    event.preventDefault();
    setValue(text);
  };
  const deleted = (names: string[]) => {
    const name = deleting();
    announce(name ? i18n.t("secret.isDeleted", { name }) : i18n.t("secret.allDeleted"));
    mutate({ hasSecret: names.length > 0, keys: names });
    setDeleting(undefined);
    void refetch();
    // After the dialog has returned the focus to the button, which is gone.
    setTimeout(() => nameField?.focus());
  };

  return (
    <section class={`${controls.panel} ${css.section}`} aria-labelledby="secrets">
      <div class={css.column}>
        <h2 id="secrets">{i18n.t("secret.title")}</h2>
        <p>{i18n.t("secret.about")}</p>
        <p>{i18n.t("secret.nextStart")}</p>
      </div>
      <form class={css.form} onSubmit={set} autocomplete="off">
        <div class={css.fields}>
          <label class={css.field}>
            <span>{i18n.t("secret.name")}</span>
            <input
              ref={nameField}
              class={controls.field}
              required
              maxLength={128}
              autocapitalize="off"
              autocorrect="off"
              spellcheck={false}
              placeholder="NPM_TOKEN"
              aria-describedby="secret-hint secret-failure"
              value={name()}
              onInput={(event) => setName(event.currentTarget.value)}
              onPaste={pasteName}
            />
          </label>
          <Show
            when={lines() === 1}
            fallback={
              <div class={css.field}>
                <span>{i18n.t("secret.value")}</span>
                <div class={css.pasted}>
                  {i18n.plural("secret.lines", lines())}
                  <button
                    type="button"
                    class={`${controls.button} ${controls.quiet}`}
                    onClick={() => setValue("")}
                  >
                    {i18n.t("secret.clearValue")}
                  </button>
                </div>
              </div>
            }
          >
            <label class={css.field}>
              <span>{i18n.t("secret.value")}</span>
              <input
                class={controls.field}
                type="password"
                required
                autocomplete="off"
                data-1p-ignore
                data-lpignore="true"
                value={value()}
                onInput={(event) => setValue(event.currentTarget.value)}
                onPaste={pasteValue}
              />
            </label>
          </Show>
          <button type="submit" class={`${controls.button} ${controls.primary}`} disabled={busy()}>
            {i18n.t("secret.set")}
          </button>
        </div>
        <p id="secret-hint" class={css.note}>
          {i18n.t("secret.pasteHint")}
        </p>
        <p id="secret-failure" class={controls.error} role="alert">
          {failure()}
        </p>
      </form>
      <Switch>
        <Match when={names.error && !names.loading}>
          <p class={controls.error}>{sentence(i18n, names.error)}</p>
          <div>
            <button type="button" class={controls.button} onClick={() => void refetch()}>
              {i18n.t("action.retry")}
            </button>
          </div>
        </Match>
        <Match when={names.state === "pending" || names.state === "unresolved"}>
          <p>{i18n.t("secret.loading")}</p>
        </Match>
        <Match when={keys().length === 0}>
          <p>{i18n.t("secret.empty")}</p>
        </Match>
        <Match when={keys().length > 0}>
          <ul class={css.list} aria-label={i18n.t("secret.title")}>
            <For each={keys()}>
              {(key) => (
                <li class={css.item}>
                  <code class={css.name}>{key}</code>
                  <button
                    type="button"
                    class={`${controls.button} ${controls.quiet} ${controls.icon}`}
                    aria-label={i18n.t("secret.delete", { name: key })}
                    title={i18n.t("secret.delete", { name: key })}
                    onClick={() => setDeleting(key)}
                  >
                    <Trash size={16} aria-hidden="true" />
                  </button>
                </li>
              )}
            </For>
          </ul>
          <div class={css.foot}>
            <span class={css.note}>{i18n.plural("secret.count", keys().length)}</span>
            <button type="button" class={controls.button} onClick={() => setDeleting("")}>
              {i18n.t("secret.deleteAll")}
            </button>
          </div>
        </Match>
      </Switch>
      <Show when={pasted()}>
        {(file) => (
          <PastedSecrets
            file={file()}
            existing={keys()}
            busy={busy()}
            failure={failure()}
            onClose={() => setPasted(undefined)}
            onSet={(secrets) =>
              void run(
                () => api.secrets.setSome(secrets),
                i18n.plural("secret.areSet", Object.keys(secrets).length),
              )
            }
          />
        )}
      </Show>
      <Show when={deleting() !== undefined}>
        <ConfirmDialog
          title={
            deleting()
              ? i18n.t("secret.deleteTitle", { name: deleting() ?? "" })
              : i18n.t("secret.deleteAllTitle")
          }
          text={i18n.t("secret.deleteText")}
          action={i18n.t("action.delete")}
          run={() => (deleting() ? api.secrets.remove(deleting() ?? "") : api.secrets.clear())}
          onClose={() => setDeleting(undefined)}
          onDone={() => deleted(deleting() ? keys().filter((key) => key !== deleting()) : [])}
        />
      </Show>
    </section>
  );
}
