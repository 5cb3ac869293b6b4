// Errors as sentences.

import { ApiError, SignedOut, Unreachable } from "../api/client";
import type { useI18n } from "../i18n";

/** Returns a sentence for an error. The router's own messages are written for people and stay as they are. */
export function sentence(i18n: ReturnType<typeof useI18n>, error: unknown): string {
  if (error instanceof Unreachable) return i18n.t("error.network");
  if (error instanceof SignedOut) return i18n.t("bar.signedOut");
  if (error instanceof ApiError) return capitalize(error.message);
  return i18n.t("error.unknown", { message: error instanceof Error ? error.message : String(error) });
}

function capitalize(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
