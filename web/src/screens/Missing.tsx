// The screen of a page or session that does not exist.

import { A } from "@solidjs/router";
import { Title } from "../components/Title";
import { useI18n } from "../i18n";
import controls from "../styles/controls.module.css";
import css from "./Session.module.css";

/** The page for an address that does not exist: a sentence and a link to the home page. */
export function Missing(props: { text?: string }) {
  const i18n = useI18n();
  return (
    <div class={css.screen}>
      <Title text={i18n.t("missing.title")} />
      <h1 class={css.title}>{props.text ?? i18n.t("missing.title")}</h1>
      <div>
        <A class={controls.button} href="/">
          {i18n.t("missing.home")}
        </A>
      </div>
    </div>
  );
}
