// The home screen: the composer, and below it the list of sessions.

import { Composer } from "../components/Composer";
import { SessionList } from "../components/SessionList";
import { Title } from "../components/Title";
import { useI18n } from "../i18n";
import css from "./Home.module.css";

export function Home() {
  const i18n = useI18n();
  return (
    <div class={css.home}>
      <Title text={i18n.t("list.title")} />
      <h1 class="visually-hidden">{i18n.t("compose.title")}</h1>
      <Composer />
      <SessionList />
    </div>
  );
}
