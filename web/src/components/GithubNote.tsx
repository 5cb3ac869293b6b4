// What hinders the composer from offering repositories, and what to do about it.

import { Show } from "solid-js";
import { ApiError } from "../api/client";
import { useSite } from "../context";
import { useI18n } from "../i18n";
import { sentence } from "../lib/errors";
import { relative } from "../lib/time";
import css from "./GithubNote.module.css";

/** A line below the composer's fields; nothing if there is nothing to say. */
export function GithubNote(props: { id: string; error: unknown }) {
  const i18n = useI18n();
  const { config } = useSite();
  const text = () => {
    const site = config();
    if (!site) return undefined;
    if (!site.githubToken) return i18n.t(site.localRepos ? "github.hint.own" : "github.hint.signIn");
    const error = props.error;
    const key = error instanceof ApiError ? `github.${error.code}` : "";
    if (!(error instanceof ApiError) || !i18n.has(key)) return error ? sentence(i18n, error) : undefined;
    const wait = Math.max(60, error.retryAfter ?? 0) * 1000;
    return i18n.t(key, { in: relative(i18n.language(), wait, 0) });
  };
  // The router's sentence contains the address at which GitHub authorizes the token.
  const page = () => {
    const error = props.error;
    const isSso = error instanceof ApiError && error.code === "github_sso_required";
    return isSso ? /https:\/\/[^\s,]+/.exec(error.message)?.[0] : undefined;
  };
  return (
    <p id={props.id} class={css.note} role="status">
      {text()}
      <Show when={page()}>
        {(href) => (
          <>
            {" "}
            <a href={href()} target="_blank" rel="noopener noreferrer">
              {i18n.t("github.authorize")}
            </a>
          </>
        )}
      </Show>
    </p>
  );
}
