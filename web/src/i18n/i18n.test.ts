import { describe, expect, it } from "vitest";
import { de } from "./de";
import { en } from "./en";

const STOPPED = ["idle", "requested", "router_stopped", "router_crashed", "never_started"];
const FAILED = [
  "repository_not_found",
  "authentication_failed",
  "branch_not_found",
  "network_unreachable",
  "clone_failed",
  "checkout_failed",
  "disk_full",
  "opencode_not_found",
  "opencode_crashed",
  "opencode_not_ready",
  "unschedulable",
  "image_pull_failed",
  "out_of_memory",
  "evicted",
  "node_lost",
  "volume_lost",
  "volume_unavailable",
  "backend_error",
];

describe("the translations", () => {
  it("have the same keys in both languages, and no empty text", () => {
    expect(Object.keys(de).sort()).toEqual(Object.keys(en).sort());
    for (const text of [...Object.values(en), ...Object.values(de)]) expect(text.trim()).not.toBe("");
  });

  it("take the same values in both languages", () => {
    const values = (text: string) => [...text.matchAll(/\{\{(\w+)\}\}/g)].map((match) => match[1]).sort();
    for (const key of Object.keys(en) as (keyof typeof en)[]) {
      expect(values(de[key]), key).toEqual(values(en[key]));
    }
  });

  it.each(STOPPED)("have a reason for a stopped session: %s", (code) =>
    expect(en).toHaveProperty([`reason.${code}`]),
  );

  it.each(FAILED)("have a reason and advice for a failed session: %s", (code) => {
    expect(en).toHaveProperty([`reason.${code}`]);
    expect(en).toHaveProperty([`advice.${code}`]);
  });
});
