import { resolveTemplate, translator } from "@solid-primitives/i18n";
import { createContext, createEffect, createSignal, type JSX, useContext } from "solid-js";
import { de } from "./de";
import { en, type Key } from "./en";

export type Language = "en" | "de";
export type { Key };

const dictionaries: Record<Language, Record<Key, string>> = { en, de };

/** The language chosen here last, else the first of the browser's that there is, else English. */
export function preferredLanguage(): Language {
  const stored = localStorage.getItem("language");
  if (stored === "en" || stored === "de") return stored;
  const wanted = (navigator.languages ?? [navigator.language]).map((tag) => tag.slice(0, 2));
  return wanted.find((tag): tag is Language => tag in dictionaries) ?? "en";
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
    /** Picks the form that the language has for a number, e.g. `_one` or `_other`. */
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
  if (!i18n) throw new Error("useI18n is for what stands inside I18nProvider");
  return i18n;
}
