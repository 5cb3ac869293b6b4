// The header of every screen.

import { A } from "@solidjs/router";
import Languages from "lucide-solid/icons/languages";
import Monitor from "lucide-solid/icons/monitor";
import Moon from "lucide-solid/icons/moon";
import Gear from "lucide-solid/icons/settings";
import ShieldUser from "lucide-solid/icons/shield-user";
import Sun from "lucide-solid/icons/sun";
import { createSignal, Show } from "solid-js";
import { Dynamic } from "solid-js/web";
import { useSite } from "../context";
import { useI18n } from "../i18n";
import controls from "../styles/controls.module.css";
import css from "./Header.module.css";

type Theme = "system" | "dark" | "light";
const NEXT: Record<Theme, Theme> = { system: "dark", dark: "light", light: "system" };
const ICON = { system: Monitor, dark: Moon, light: Sun };

export function Header() {
  const i18n = useI18n();
  const { sessions, config } = useSite();
  const [theme, setTheme] = createSignal<Theme>(
    (document.documentElement.dataset.theme as Theme) ?? "system",
  );
  const switchTheme = () => {
    const next = NEXT[theme()];
    setTheme(next);
    localStorage.setItem("theme", next);
    if (next === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = next;
  };
  const otherLanguage = () => (i18n.language() === "en" ? "de" : "en");
  return (
    <header class={css.header}>
      <A class={css.brand} href="/" aria-label={`${i18n.t("app.name")}: ${i18n.t("app.home")}`}>
        <img src="/icon.svg" alt="" width="20" height="20" />
        {i18n.t("app.name")}
      </A>
      <div class={css.tools}>
        <Show when={sessions.list.email}>
          <span class={css.email} title={i18n.t("app.signedInAs", { email: sessions.list.email })}>
            {sessions.list.email}
          </span>
        </Show>
        <Show when={config()?.admin}>
          <A
            class={`${controls.button} ${controls.quiet} ${controls.icon}`}
            href="/admin"
            aria-label={i18n.t("admin.title")}
            title={i18n.t("admin.title")}
          >
            <ShieldUser size={16} aria-hidden="true" />
          </A>
        </Show>
        <A
          class={`${controls.button} ${controls.quiet} ${controls.icon}`}
          href="/settings"
          aria-label={i18n.t("settings.title")}
          title={i18n.t("settings.title")}
        >
          <Gear size={16} aria-hidden="true" />
        </A>
        <button
          type="button"
          class={`${controls.button} ${controls.quiet}`}
          lang={otherLanguage()}
          aria-label={otherLanguage() === "de" ? "DE: Deutsch" : "EN: English"}
          onClick={() => i18n.choose(otherLanguage())}
        >
          <Languages size={16} aria-hidden="true" />
          {otherLanguage().toUpperCase()}
        </button>
        <button
          type="button"
          class={`${controls.button} ${controls.quiet} ${controls.icon}`}
          aria-label={`${i18n.t("app.theme")}: ${i18n.t(`theme.${theme()}`)}`}
          title={`${i18n.t("app.theme")}: ${i18n.t(`theme.${theme()}`)}`}
          onClick={switchTheme}
        >
          <Dynamic component={ICON[theme()]} size={16} aria-hidden="true" />
        </button>
      </div>
    </header>
  );
}
