// The screen of a user's settings: their secrets.

import { Secrets } from "../components/Secrets";
import { Title } from "../components/Title";
import { useI18n } from "../i18n";
import css from "./Settings.module.css";

export default function Settings() {
  const i18n = useI18n();
  return (
    <div class={css.screen}>
      <Title text={i18n.t("settings.title")} />
      <h1 class={css.title}>{i18n.t("settings.title")}</h1>
      <Secrets />
    </div>
  );
}
