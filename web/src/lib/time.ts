// Times and durations in words.

import { type Accessor, createSignal, onCleanup } from "solid-js";

/** Returns the current time in milliseconds, updated at an interval while the page is visible. */
export function createNow(everyMs: number): Accessor<number> {
  const [now, setNow] = createSignal(Date.now());
  const timer = setInterval(() => document.visibilityState === "visible" && setNow(Date.now()), everyMs);
  onCleanup(() => clearInterval(timer));
  return now;
}

const UNITS: [Intl.RelativeTimeFormatUnit, number][] = [
  ["day", 86_400_000],
  ["hour", 3_600_000],
  ["minute", 60_000],
];

/** Returns a time relative to now: "3 min ago", "in 27 min", or "now" for less than a minute. */
export function relative(language: string, at: number, now: number): string {
  const format = new Intl.RelativeTimeFormat(language, { numeric: "auto", style: "short" });
  const distance = at - now;
  for (const [unit, size] of UNITS) {
    if (Math.abs(distance) >= size) return format.format(Math.trunc(distance / size), unit);
  }
  return format.format(0, "second");
}

/** Returns a duration: "850 ms", "4.2 s", "2 min 5 s". */
export function duration(language: string, ms: number): string {
  const unit = (value: number, name: "second" | "minute" | "millisecond", digits = 0) =>
    new Intl.NumberFormat(language, {
      style: "unit",
      unit: name,
      unitDisplay: "narrow",
      maximumFractionDigits: digits,
      minimumFractionDigits: digits,
    }).format(value);
  if (ms < 1_000) return unit(Math.max(0, Math.round(ms)), "millisecond");
  if (ms < 60_000) return unit(ms / 1_000, "second", ms < 10_000 ? 1 : 0);
  return `${unit(Math.floor(ms / 60_000), "minute")} ${unit(Math.floor((ms % 60_000) / 1_000), "second")}`;
}

/** Returns a duration in whole seconds, for a running clock. */
export function counting(language: string, ms: number): string {
  if (ms >= 60_000) return duration(language, ms);
  return new Intl.NumberFormat(language, { style: "unit", unit: "second", unitDisplay: "narrow" }).format(
    Math.floor(Math.max(0, ms) / 1_000),
  );
}

/** Returns a date and time: "23 Nov 2026, 17:08". */
export function moment(language: string, at: number): string {
  return new Intl.DateTimeFormat(language, { dateStyle: "medium", timeStyle: "short" }).format(at);
}

/** Returns a size: "12 MB". */
export function bytes(language: string, count: number): string {
  const [unit, size] =
    count >= 1e9 ? ["gigabyte", 1e9] : count >= 1e6 ? ["megabyte", 1e6] : ["kilobyte", 1e3];
  return new Intl.NumberFormat(language, {
    style: "unit",
    unit: unit as string,
    unitDisplay: "short",
    maximumFractionDigits: count >= 1e7 ? 0 : 1,
  }).format(count / (size as number));
}
