// The composer: repository, branch and first message of a new session.

import { useNavigate } from "@solidjs/router";
import ArrowUp from "lucide-solid/icons/arrow-up";
import GitBranch from "lucide-solid/icons/git-branch";
import { createEffect, createMemo, createSignal, For, on, onCleanup, onMount, Show } from "solid-js";
import { api } from "../api/client";
import { useSite } from "../context";
import { type Key, useI18n } from "../i18n";
import { sentence } from "../lib/errors";
import { checkRepo, isBranch } from "../lib/repo";
import controls from "../styles/controls.module.css";
import css from "./Composer.module.css";

/** A branch name is suggested once the repository has not changed for this long. */
const SUGGEST_AFTER_MS = 250;

/** The form that starts a session: repository, branch and first message. */
export function Composer() {
  const i18n = useI18n();
  const navigate = useNavigate();
  const { sessions, config } = useSite();
  const [repo, setRepo] = createSignal("");
  const [branch, setBranch] = createSignal("");
  const [branchTyped, setBranchTyped] = createSignal(false);
  const [from, setFrom] = createSignal("");
  const [message, setMessage] = createSignal("");
  const [validated, setValidated] = createSignal(false);
  const [busy, setBusy] = createSignal(false);
  const [failure, setFailure] = createSignal("");
  let repoField: HTMLInputElement | undefined;

  const checked = createMemo(() => checkRepo(repo(), config()));
  const repoError = (): Key | undefined => (validated() ? checked().error : undefined);
  const branchError = (): Key | undefined =>
    (validated() || branchTyped()) && branch().trim() !== "" && !isBranch(branch().trim())
      ? "invalid.branch"
      : undefined;
  const fromError = (): Key | undefined =>
    from().trim() !== "" && !isBranch(from().trim()) ? "invalid.branch" : undefined;
  const recent = createMemo(() =>
    [...new Set(sessions.list.sessions.flatMap((session) => session.repoUrl ?? []))].slice(0, 20),
  );

  createEffect(() => {
    const preset = config()?.defaultRepo;
    if (preset && repo() === "") setRepo(preset);
  });

  // Suggests a free branch name for a valid address, until the user types a name.
  createEffect(
    on(checked, ({ url }) => {
      if (!url || branchTyped()) return;
      const timer = setTimeout(() => {
        api
          .suggestBranch(url)
          .then((suggested) => !branchTyped() && checked().url === url && setBranch(suggested.branch))
          .catch(() => {});
      }, SUGGEST_AFTER_MS);
      onCleanup(() => clearTimeout(timer));
    }),
  );

  onMount(() => {
    if (!matchMedia("(pointer: coarse)").matches) repoField?.focus();
  });

  const start = async (withRepo: boolean) => {
    setFailure("");
    if (withRepo) {
      setValidated(true);
      if (checked().error || branchError() || fromError()) return void repoField?.focus();
    }
    setBusy(true);
    try {
      const text = message().trim();
      const { hash } = await api.create({
        ...(withRepo && { repoUrl: checked().url }),
        ...(withRepo && branch().trim() && { branch: branch().trim() }),
        ...(withRepo && from().trim() && { sourceBranch: from().trim() }),
        ...(text && { initialMessage: text }),
      });
      navigate(`/session/${hash}`);
    } catch (error) {
      setFailure(sentence(i18n, error));
      setBusy(false);
    }
  };

  return (
    <form
      class={`${controls.panel} ${css.composer}`}
      aria-label={i18n.t("compose.title")}
      novalidate
      onSubmit={(event) => {
        event.preventDefault();
        if (!busy()) void start(true);
      }}
    >
      <div class={css.fields}>
        <label class={css.repo}>
          <span class="visually-hidden">{i18n.t("compose.repo")}</span>
          <input
            ref={repoField}
            id="compose-repo"
            class={controls.field}
            name="repo"
            list="compose-recent"
            placeholder={`${i18n.t("compose.repo")}: ${i18n.t("compose.repoHint")}`}
            autocomplete="off"
            autocapitalize="off"
            spellcheck={false}
            value={repo()}
            aria-invalid={repoError() ? "true" : undefined}
            aria-describedby={repoError() ? "compose-repo-error" : undefined}
            onInput={(event) => {
              setRepo(event.currentTarget.value);
              setValidated(false);
            }}
            onBlur={() => repo().trim() !== "" && setValidated(true)}
          />
        </label>
        <datalist id="compose-recent">
          <For each={recent()}>{(url) => <option value={url} />}</For>
        </datalist>
        <label class={css.branch}>
          <span class="visually-hidden">{i18n.t("compose.branch")}</span>
          <GitBranch class={css.branchIcon} size={14} aria-hidden="true" />
          <input
            class={controls.field}
            name="branch"
            placeholder={i18n.t("compose.branch")}
            autocomplete="off"
            autocapitalize="off"
            spellcheck={false}
            value={branch()}
            aria-invalid={branchError() ? "true" : undefined}
            aria-describedby={branchError() ? "compose-branch-error" : undefined}
            onInput={(event) => {
              setBranch(event.currentTarget.value);
              setBranchTyped(event.currentTarget.value !== "");
            }}
          />
        </label>
        <label class={css.from}>
          <span class={css.fromWord}>{i18n.t("compose.from")}</span>
          <input
            class={controls.field}
            name="from"
            placeholder={i18n.t("compose.fromHint")}
            autocomplete="off"
            autocapitalize="off"
            spellcheck={false}
            value={from()}
            aria-invalid={fromError() ? "true" : undefined}
            onInput={(event) => setFrom(event.currentTarget.value)}
          />
        </label>
      </div>
      <Show when={repoError()}>
        {(key) => (
          <p id="compose-repo-error" class={controls.error} role="alert">
            {i18n.t(key())}
          </p>
        )}
      </Show>
      <Show when={branchError() ?? fromError()}>
        {(key) => (
          <p id="compose-branch-error" class={controls.error} role="alert">
            {i18n.t(key())}
          </p>
        )}
      </Show>
      <label>
        <span class="visually-hidden">{i18n.t("compose.message")}</span>
        <textarea
          class={css.message}
          name="message"
          rows={2}
          placeholder={i18n.t("compose.messageHint")}
          value={message()}
          onInput={(event) => setMessage(event.currentTarget.value)}
          onKeyDown={(event) => {
            if (event.key === "Enter" && !event.shiftKey && !event.isComposing) {
              event.preventDefault();
              event.currentTarget.form?.requestSubmit();
            }
          }}
        />
      </label>
      <Show when={failure()}>
        <p class={controls.error} role="alert">
          {failure()}
        </p>
      </Show>
      <div class={css.foot}>
        <button
          type="button"
          class={`${controls.button} ${controls.quiet}`}
          disabled={busy()}
          onClick={() => void start(false)}
        >
          {i18n.t("compose.noRepo")}
        </button>
        <button type="submit" class={`${controls.button} ${controls.primary}`} disabled={busy()}>
          <Show when={busy()} fallback={<ArrowUp size={16} aria-hidden="true" />}>
            <span class={controls.spinner} />
          </Show>
          {i18n.t(busy() ? "compose.starting" : "compose.start")}
        </button>
      </div>
    </form>
  );
}
