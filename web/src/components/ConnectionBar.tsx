// The bar that says why the page may be out of date.

import { Match, Switch } from "solid-js";
import type { Connection } from "../api/sessions";
import { useI18n } from "../i18n";
import css from "./ConnectionBar.module.css";

/** Shows that the page may be out of date, and why, until it is current again. */
export function ConnectionBar(props: { connection: Connection }) {
  const i18n = useI18n();
  return (
    <div role="alert">
      <Switch>
        <Match when={props.connection === "offline"}>
          <p class={css.bar}>{i18n.t("bar.offline")}</p>
        </Match>
        <Match when={props.connection === "unreachable"}>
          <p class={css.bar}>{i18n.t("bar.unreachable")}</p>
        </Match>
        <Match when={props.connection === "signedOut"}>
          <p class={css.bar}>
            {i18n.t("bar.signedOut")} {/* A full page load, so that the sign-in proxy can take over. */}
            <a class={css.link} href={location.href} rel="external" target="_self">
              {i18n.t("bar.signIn")}
            </a>
          </p>
        </Match>
      </Switch>
    </div>
  );
}
