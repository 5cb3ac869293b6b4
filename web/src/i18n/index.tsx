// Translation into the browser's language, or the one that the user chose.

import { resolveTemplate, translator } from "@solid-primitives/i18n";
import { createContext, createEffect, createSignal, type JSX, useContext } from "solid-js";
import { de } from "./de";
import { en, type Key } from "./en";

export type Language = "en" | "de";
export type { Key };

const dictionaries: Record<Language, Record<Key, string>> = { en, de };

/** Returns the stored language, else the first supported one of the browser's, else English. */
export function preferredLanguage(): Language {
  const stored = localStorage.getItem("language");
  if (stored === "en" || stored === "de") return stored;
  const preferred = (navigator.languages ?? [navigator.language]).map((tag) => tag.slice(0, 2));
  return preferred.find((tag): tag is Language => tag in dictionaries) ?? "en";
}

function createI18n() {
  const [language, setLanguage] = createSignal(preferredLanguage());
  const translate = translator(() => dictionaries[language()], resolveTemplate);
  createEffect(() => {
    document.documentElement.lang = language();
  });
  return {
    language,
    choose(next: Language) {
      localStorage.setItem("language", next);
      setLanguage(next);
    },
    t: (key: Key, values?: Record<string, string | number>) => String(translate(key, values as never) ?? key),
    /** Translates a key in the plural form of a number, such as `_one` or `_other`. */
    plural: (key: string, count: number) => {
      const form = new Intl.PluralRules(language()).select(count);
      return String(translate(`${key}_${form}` as Key, { count } as never) ?? count);
    },
    has: (key: string): key is Key => key in en,
  };
}

const Context = createContext<ReturnType<typeof createI18n>>();

export function I18nProvider(props: { children: JSX.Element }) {
  return <Context.Provider value={createI18n()}>{props.children}</Context.Provider>;
}

export function useI18n() {
  const i18n = useContext(Context);
  if (!i18n) throw new Error("useI18n must be called inside I18nProvider");
  return i18n;
}
