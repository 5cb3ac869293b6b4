// The composer: repository, branch and first message of a new session.

import { useNavigate } from "@solidjs/router";
import ArrowUp from "lucide-solid/icons/arrow-up";
import GitBranch from "lucide-solid/icons/git-branch";
import { createEffect, createMemo, createSignal, on, onCleanup, onMount, Show } from "solid-js";
import { api } from "../api/client";
import { createRepositories } from "../api/repositories";
import { useSite } from "../context";
import { type Key, useI18n } from "../i18n";
import { sentence } from "../lib/errors";
import { branchOptions, nameOnGithub, recentOption, repositoryOption } from "../lib/github";
import { checkRepo, isBranch } from "../lib/repo";
import controls from "../styles/controls.module.css";
import css from "./Composer.module.css";
import { ComposerField, createSuggestions } from "./ComposerField";
import { GithubNote } from "./GithubNote";

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

  const github = createRepositories();
  const suggestions = createSuggestions(() => config()?.githubToken === true);
  const repositories = () => github.repositories.state();
  const chosen = createMemo(() => nameOnGithub(checked().url, config()?.githubUrl));
  const branches = createMemo(() => {
    const name = chosen();
    return name && config()?.githubToken ? github.branches(name) : undefined;
  });
  const defaultBranch = () =>
    repositories().items.find(({ fullName }) => fullName.toLowerCase() === chosen()?.toLowerCase())
      ?.defaultBranch;
  const repoGroups = createMemo(() => [
    {
      title: i18n.t("compose.recent"),
      options: recent().map((url) => recentOption(url, config()?.githubUrl, repositories().items)),
    },
    { title: i18n.t("compose.yourRepos"), options: repositories().items.map(repositoryOption) },
  ]);
  const branchGroups = createMemo(() => [
    { options: branchOptions(branches()?.state().items ?? [], defaultBranch()) },
  ]);
  const repoNote = () => {
    const { items, loading, incomplete } = repositories();
    if (loading) return i18n.t("repo.loading");
    if (incomplete === "sso") return i18n.t("repo.sso");
    if (incomplete) return i18n.t("repo.limit", { count: items.length });
    return undefined;
  };
  const branchNote = () => {
    const state = branches()?.state();
    if (state?.loading) return i18n.t("branch.loading");
    return state?.incomplete ? i18n.t("branch.limit", { count: state.items.length }) : undefined;
  };

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
        <div class={css.repo}>
          <label class="visually-hidden" for="compose-repo">
            {i18n.t("compose.repo")}
          </label>
          <ComposerField
            suggest={suggestions()}
            ref={(field) => {
              repoField = field;
            }}
            id="compose-repo"
            name="repo"
            label={i18n.t("compose.repo")}
            placeholder={`${i18n.t("compose.repo")}: ${i18n.t("compose.repoHint")}`}
            value={repo()}
            groups={repoGroups()}
            note={repoNote()}
            loading={repositories().loading}
            invalid={repoError() !== undefined}
            describedBy={repoError() ? "compose-repo-error" : "compose-github"}
            plainOptions={recent()}
            onSearch={() => void github.repositories.load()}
            onText={(text) => {
              setRepo(text);
              setValidated(false);
            }}
            onBlur={() => repo().trim() !== "" && setValidated(true)}
          />
        </div>
        <div class={css.branch}>
          <label class="visually-hidden" for="compose-branch">
            {i18n.t("compose.branch")}
          </label>
          <GitBranch class={css.branchIcon} size={14} aria-hidden="true" />
          <ComposerField
            suggest={suggestions()}
            id="compose-branch"
            name="branch"
            label={i18n.t("compose.branch")}
            placeholder={i18n.t("compose.branch")}
            value={branch()}
            groups={branchGroups()}
            note={branchNote()}
            loading={branches()?.state().loading}
            invalid={branchError() !== undefined}
            describedBy={branchError() ? "compose-branch-error" : undefined}
            onSearch={() => void branches()?.load()}
            onText={(text) => {
              setBranch(text);
              setBranchTyped(text !== "");
            }}
          />
        </div>
        <div class={css.from}>
          <label class={css.fromWord} for="compose-from">
            {i18n.t("compose.from")}
          </label>
          <ComposerField
            suggest={suggestions()}
            id="compose-from"
            name="from"
            label={i18n.t("compose.from")}
            placeholder={defaultBranch() || i18n.t("compose.fromHint")}
            value={from()}
            groups={branchGroups()}
            note={branchNote()}
            loading={branches()?.state().loading}
            invalid={fromError() !== undefined}
            describedBy={fromError() ? "compose-branch-error" : undefined}
            onSearch={() => void branches()?.load()}
            onText={setFrom}
          />
        </div>
      </div>
      <Show when={repoError()}>
        {(key) => (
          <p id="compose-repo-error" class={controls.error} role="alert">
            {i18n.t(key())}
          </p>
        )}
      </Show>
      <GithubNote id="compose-github" error={repositories().error ?? branches()?.state().error} />
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
