// Tests of what the benchmarks conclude from their measurements.
import assert from "node:assert/strict";
import { test } from "node:test";
import { compare } from "./lib/budget.mjs";
import { parseWrk } from "./lib/load.mjs";
import { readSettings } from "./lib/settings.mjs";
import { median } from "./lib/tables.mjs";

test("a cost of more than 5 % above its budget fails, and says how to update it", () => {
  assert.deepEqual(compare("whole", 1050, 1000), { within: true });
  const { within, message } = compare("whole", 1051, 1000);
  assert.equal(within, false);
  assert.match(message, /"whole" costs 1,051 instructions, 5\.1 % more than its budget of 1,000/);
  assert.match(message, /instructions\.mjs --update/);
});

test("a cost far below its budget asks for a smaller budget", () => {
  assert.match(compare("whole", 900, 1000).message, /10\.0 % less/);
  assert.equal(compare("whole", 900, 1000).within, true);
});

const REPORT = `Running 2s test @ http://127.0.0.1:8000/
  1 threads and 32 connections
  Thread Stats   Avg      Stdev     Max   +/- Stdev
    Latency   412.66us  101.67us   3.04ms   87.52%
  151234 requests in 2.00s, 22.34MB read
Requests/sec:  75617.03
Transfer/sec:     11.17MB
`;

test("the figures of wrk are its requests and their rate", () => {
  assert.deepEqual(parseWrk(REPORT), { requests: 151234, rate: 75617.03 });
});

test("a run with failed requests is no figure", () => {
  const failures = [
    "  Socket errors: connect 0, read 3, write 0, timeout 0\n",
    "  Non-2xx or 3xx responses: 12\n",
  ];
  for (const line of failures) {
    assert.throws(
      () => parseWrk(REPORT.replace("Requests/sec", `${line}Requests/sec`)),
      /not all requests succeeded/,
    );
  }
  assert.throws(() => parseWrk("unable to connect"), /no requests/);
});

test("unknown parts and proxies are refused with the known ones", () => {
  assert.throws(() => readSettings(["--only=smal"]), /no part is called smal; there are small, /);
  assert.throws(() => readSettings(["--proxies=haproxy,squid"]), /no proxy is called squid/);
  assert.deepEqual(readSettings(["--proxies=haproxy,router"]).core, ["haproxy", "router"]);
});

test("the median of an even number of figures is one of them", () => {
  assert.equal(median([3, 1, 2]), 2);
  assert.equal(median([4, 1]), 4);
});
