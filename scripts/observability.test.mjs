// Tests that the alerts and the dashboard of the chart name metrics and pages that exist; tests/alerts/run
// tests that they are valid. Run: node --test scripts/*.test.mjs

import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { fileURLToPath } from "node:url";

const root = fileURLToPath(new URL("..", import.meta.url));
const read = (path) => readFileSync(join(root, path), "utf8");
const alerts = read("deploy/chart/files/alerts.yaml");
const dashboard = JSON.parse(read("deploy/chart/files/dashboard.json"));
const cases = read("tests/alerts/alerts.test.yaml");
const operations = read("docs/operations.md");
const names = [...alerts.matchAll(/^ *- alert: (\w+)$/gm)].map((match) => match[1]);

/**
 * All series that are exported, with their labels. The router's are the table of docs/operations.md, which a
 * Rust test compares with /metrics; the operator's are what its source registers.
 */
const series = new Map();
const add = (name, type, labels) => {
  const suffixes = type === "histogram" ? ["_bucket", "_sum", "_count"] : [""];
  for (const suffix of suffixes) series.set(name + suffix, [...labels, ...(suffix === "_bucket" ? ["le"] : [])]);
};
for (const [, name, type, labels] of operations.matchAll(/^\| `((?:opencode|process)_\w+)` \| (\w+) \| ([^|]*)\|/gm)) {
  add(name, type, [...labels.matchAll(/`(\w+)`/g)].map((match) => match[1]));
}
const source = read("crates/cloudflare-operator/src/metrics.rs");
const documented = new Map(series);
const structs = Object.fromEntries([...source.matchAll(/struct (\w+) \{([^}]*)\}/g)].map(([, name, body]) => [name, [...body.matchAll(/^ {4}(\w+):/gm)].map((match) => match[1])]));
for (const [, name, field] of source.matchAll(/registry\.register\(\s*"(\w+)",\s*"[^"]*",\s*(\w+)/g)) {
  const [, labels, type] = source.match(new RegExp(`^ {4}${field}: (?:Family<(\\w+), )?(Counter|Gauge)`, "m")) ?? [null, null, field];
  const suffix = { Counter: "_total", Gauge: "", Info: "_info" }[type];
  assert.notEqual(suffix, undefined, `the type of the operator's metric ${name} is not known: ${field}`);
  series.set(`opencode_cloudflare_operator_${name}${suffix}`, type === "Info" ? ["version"] : (structs[labels] ?? []));
}
// What scraping adds.
const added = ["job", "instance", "namespace", "pod"];

/** Asserts that each metric in a PromQL expression exists, with the labels that its selector names. */
function check(expression, where) {
  let found = 0;
  for (const [, name, selector = ""] of expression.matchAll(/\b((?:opencode|process)_[a-z_]+)(?:\{([^}]*)\})?/g)) {
    assert.ok(series.has(name), `${where} names ${name}, which nothing exports`);
    for (const [, label] of selector.matchAll(/(\w+)(?:=~|!~|!=|=)"/g)) {
      assert.ok([...added, ...series.get(name)].includes(label), `${where}: ${name} has no label ${label}`);
    }
    found++;
  }
  return found;
}

test("docs/operations.md has a table of the operator's metrics", () => {
  const operators = (map) => [...map].filter(([name]) => name.startsWith("opencode_cloudflare_operator_")).sort();
  assert.deepEqual(operators(documented), operators(series));
});

test("both programs' metrics are known here", () => {
  assert.deepEqual(series.get("opencode_router_requests_total"), ["route", "status"]);
  assert.deepEqual(series.get("opencode_router_start_stage_seconds_bucket"), ["stage", "le"]);
  assert.deepEqual(series.get("opencode_cloudflare_operator_cloudflare_calls_total"), ["call", "outcome"]);
  assert.deepEqual(series.get("opencode_cloudflare_operator_failing"), ["half"]);
  assert.ok(series.has("opencode_cloudflare_operator_build_info"));
});

test("every metric of the alerts, their tests and the dashboard is exported, with these labels", () => {
  assert.ok(check(alerts.replaceAll(/^ *(#|description:|summary:).*$/gm, ""), "alerts.yaml") > 20);
  assert.ok(check(cases.replaceAll(/^ *#.*$/gm, ""), "alerts.test.yaml") > 40);
  const queries = dashboard.panels.flatMap(({ title, targets = [] }) => targets.map(({ expr }) => [title, expr]));
  for (const [title, expr] of queries) assert.ok(check(expr, `the panel "${title}"`) > 0, `"${title}" asks for no metric of ours`);
});

test("the dashboard shows every metric", () => {
  const shown = JSON.stringify(dashboard);
  const left = [...series.keys()].filter((name) => !/_sum$|_count$/.test(name) && !shown.includes(name));
  assert.deepEqual(left, []);
});

test("each alert has a severity, a text, and a section on what to do", () => {
  const blocks = alerts.split(/^ *- alert: /m).slice(1);
  assert.ok(names.length > 15);
  assert.equal(new Set(names).size, names.length);
  blocks.forEach((block, index) => {
    assert.match(block, /^ {8}labels: \{ severity: (critical|warning|info) \}$/m, names[index]);
    assert.match(block, /^ {10}summary: .*\.("?)$/m, names[index]);
    assert.match(block, /^ {10}description: .*\.$/m, names[index]);
    assert.match(block, new RegExp(`^ {10}runbook_url: https://.*/docs/operations\\.md#${names[index].toLowerCase()}$`, "m"));
    assert.match(operations, new RegExp(`^### ${names[index]}\n\\S`, "m"), `docs/operations.md has no section ${names[index]}`);
  });
  const documented = [...operations.matchAll(/^### (Opencode\w+)$/gm)].map((match) => match[1]);
  assert.deepEqual(documented, names, "the sections of docs/operations.md stand in the order of the alerts");
});

test("each alert is shown to fire and to be quiet", () => {
  for (const name of names) {
    assert.match(cases, new RegExp(`- name: '${name} fires: `), name);
    assert.match(cases, new RegExp(`- name: '${name} is quiet: `), name);
  }
});

test("panels have ids of their own and do not overlap", () => {
  const { panels } = dashboard;
  assert.equal(new Set(panels.map(({ id }) => id)).size, panels.length);
  for (const [index, { title, gridPos: a }] of panels.entries()) {
    assert.ok(a.x + a.w <= 24, title);
    for (const { title: other, gridPos: b } of panels.slice(index + 1)) {
      assert.ok(a.x + a.w <= b.x || b.x + b.w <= a.x || a.y + a.h <= b.y || b.y + b.h <= a.y, `"${title}" and "${other}" overlap`);
    }
  }
});
