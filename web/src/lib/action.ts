// Actions on a session: pending, failed or done.

import { createSignal } from "solid-js";
import { useSite } from "../context";
import { useI18n } from "../i18n";
import { sentence } from "./errors";

/** Runs actions on a session, such as stop and resume. `failure` is the sentence for the last one, if it failed. */
export function createAction(hash: () => string) {
  const i18n = useI18n();
  const { sessions } = useSite();
  const [busy, setBusy] = createSignal(false);
  const [failure, setFailure] = createSignal("");

  const run = async (action: (hash: string) => Promise<unknown>) => {
    setBusy(true);
    setFailure("");
    try {
      await action(hash());
      if (sessions.connection() !== "live") await sessions.refresh();
    } catch (error) {
      setFailure(sentence(i18n, error));
    } finally {
      setBusy(false);
    }
  };
  return { busy, failure, run };
}
