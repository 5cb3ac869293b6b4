import { createContext, type Resource, useContext } from "solid-js";
import type { SiteConfig } from "./api/client";
import type { Sessions } from "./api/sessions";

export type Site = {
  sessions: Sessions;
  config: Resource<SiteConfig | undefined>;
  /** Says something once to who can't see it. */
  announce: (text: string) => void;
};

export const SiteContext = createContext<Site>();

export function useSite(): Site {
  const site = useContext(SiteContext);
  if (!site) throw new Error("useSite is for what stands inside the App");
  return site;
}
