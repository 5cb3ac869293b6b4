import { useI18n } from "../i18n";
import { Composer } from "../parts/Composer";
import { SessionList } from "../parts/SessionList";
import { Title } from "../parts/Title";
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
