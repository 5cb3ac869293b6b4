// What the components share, without passing it from one to the next.

import { createContext, type Resource, useContext } from "solid-js";
import type { SiteConfig } from "./api/client";
import type { Sessions } from "./api/sessions";

/** What the components share. */
export type Site = {
  sessions: Sessions;
  config: Resource<SiteConfig | undefined>;
  /** Has screen readers read a text out. */
  announce: (text: string) => void;
};

export const SiteContext = createContext<Site>();

export function useSite(): Site {
  const site = useContext(SiteContext);
  if (!site) throw new Error("useSite must be called inside App");
  return site;
}
