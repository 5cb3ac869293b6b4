import { describe, expect, it } from "vitest";
import { bytes, counting, duration, relative } from "./time";

describe("times and sizes", () => {
  const now = Date.UTC(2026, 10, 23, 12);
  it.each([
    [now, "now"],
    [now - 59_000, "now"],
    [now - 3 * 60_000, "3 min. ago"],
    [now + 27 * 60_000, "in 27 min."],
    [now - 2 * 3_600_000, "2 hr. ago"],
    [now - 26 * 3_600_000, "yesterday"],
  ])("%d is relative to now", (at, words) => expect(relative("en", at, now)).toBe(words));

  it("are written in German, too", () => expect(relative("de", now - 3 * 60_000, now)).toBe("vor 3 Min."));

  it.each([
    [-5, "0ms"],
    [850, "850ms"],
    [4_200, "4.2s"],
    [42_000, "42s"],
    [125_000, "2m 5s"],
  ])("a duration of %d ms", (ms, words) => expect(duration("en", ms)).toBe(words));

  it("a running clock counts whole seconds", () => {
    expect(counting("en", 1_900)).toBe("1s");
    expect(counting("en", 61_000)).toBe("1m 1s");
  });

  it.each([
    [512_000, "512 kB"],
    [1_500_000, "1.5 MB"],
    [28_000_000, "28 MB"],
  ])("%d bytes are %s", (count, words) => expect(bytes("en", count)).toBe(words));
});
