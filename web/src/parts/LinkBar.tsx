import { Match, Switch } from "solid-js";
import type { Link } from "../api/sessions";
import { useI18n } from "../i18n";
import css from "./LinkBar.module.css";

/** Says when what is shown may not be the truth, and goes away by itself. */
export function LinkBar(props: { link: Link }) {
  const i18n = useI18n();
  return (
    <div role="alert">
      <Switch>
        <Match when={props.link === "offline"}>
          <p class={css.bar}>{i18n.t("bar.offline")}</p>
        </Match>
        <Match when={props.link === "unreachable"}>
          <p class={css.bar}>{i18n.t("bar.unreachable")}</p>
        </Match>
        <Match when={props.link === "signedOut"}>
          <p class={css.bar}>
            {i18n.t("bar.signedOut")} {/* A whole load: the sign-in proxy takes over. */}
            <a class={css.link} href={location.href} rel="external" target="_self">
              {i18n.t("bar.signIn")}
            </a>
          </p>
        </Match>
      </Switch>
    </div>
  );
}
