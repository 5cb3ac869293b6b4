// Copying to the clipboard.

import { useSite } from "../context";
import { useI18n } from "../i18n";

/** Returns a function that copies a text to the clipboard and announces that. */
export function createCopy() {
  const i18n = useI18n();
  const { announce } = useSite();
  return async (text: string) => {
    await copyText(text);
    announce(i18n.t("action.copied"));
  };
}

/** Copies a text to the clipboard. Outside of secure contexts, browsers offer only the old way. */
async function copyText(text: string): Promise<void> {
  if (navigator.clipboard) return navigator.clipboard.writeText(text);
  const area = document.createElement("textarea");
  area.value = text;
  area.className = "visually-hidden";
  document.body.append(area);
  area.select();
  document.execCommand("copy");
  area.remove();
}
