import { ApiError, SignedOut, Unreachable } from "../api/client";
import type { useI18n } from "../i18n";

/** A sentence for what went wrong. The router's own sentences are for people, and stand as they are. */
export function sentence(i18n: ReturnType<typeof useI18n>, error: unknown): string {
  if (error instanceof Unreachable) return i18n.t("error.network");
  if (error instanceof SignedOut) return i18n.t("bar.signedOut");
  if (error instanceof ApiError) return upper(error.message);
  return i18n.t("error.unknown", { message: error instanceof Error ? error.message : String(error) });
}

function upper(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
