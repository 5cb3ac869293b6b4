import assert from "node:assert/strict";
import { createServer, type RequestListener } from "node:http";
import type { AddressInfo } from "node:net";
import { after, test } from "node:test";

import { areLists, fetchLists, freeModels, llamaCppModels, type ModelLists, paidModels } from "../src/models";
import committed from "../src/models.json";

const BOUNDS = { milliseconds: 20_000, bytes: 64 * 1024 };
const PREVIOUS: ModelLists = {
  free: [{ id: "old/free", name: "Old (free)", context: 1, output: 1 }],
  paid: [{ id: "old/paid", name: "Old ($1/M in / $1/M out)", context: 1, output: 1 }],
  local: [{ id: "old-local", name: "old-local", context: 1, output: 1 }],
};
const openrouter = (id: string, prompt: string, completion: string, more: object = {}) => ({
  id,
  name: id.toUpperCase(),
  context_length: 1000,
  pricing: { prompt, completion },
  top_provider: { max_completion_tokens: 100 },
  ...more,
});
const GOOD = {
  data: [openrouter("b/paid", "0.000003", "0.000015"), openrouter("a/free", "0", "0")],
};

const closing: (() => void)[] = [];
after(() => {
  for (const close of closing) close();
});

async function serve(listener: RequestListener): Promise<string> {
  const server = createServer(listener);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  closing.push(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

async function lists(openrouterUrl: string, llamaCppUrl?: string, bounds = BOUNDS) {
  const warnings: string[] = [];
  const settings = { openrouterUrl, llamaCppUrl };
  const lists = await fetchLists(settings, PREVIOUS, (message) => warnings.push(message), bounds);
  return { lists, warnings };
}

test("lists that can be fetched replace the previous ones", async () => {
  const url = await serve((request, response) => {
    const isLlama = request.url === "/v1/models";
    response.end(JSON.stringify(isLlama ? { data: [{ id: "qwen", meta: { n_ctx_train: 4096 } }] } : GOOD));
  });
  const answer = await lists(`${url}/api`, `${url}/`);
  assert.deepEqual(answer, {
    lists: {
      free: [{ id: "a/free", name: "A/FREE (free)", context: 1000, output: 100 }],
      paid: [{ id: "b/paid", name: "B/PAID ($3/M in / $15/M out)", context: 1000, output: 100 }],
      local: [{ id: "qwen", name: "qwen", context: 4096, output: 4096 }],
    },
    warnings: [],
  });
});

test("a llama.cpp server that is no longer configured leaves no models", async () => {
  const url = await serve((_, response) => response.end(JSON.stringify(GOOD)));
  assert.deepEqual((await lists(url)).lists.local, []);
});

const FAILURES: [string, RequestListener, RegExp][] = [
  ["an error", (_, response) => response.writeHead(500).end("{}"), /it answered 500/],
  ["garbage", (_, response) => response.end("<html>"), /is no JSON/],
  ["JSON of another form", (_, response) => response.end('{"models":[]}'), /no list `data`/],
  ["an empty list", (_, response) => response.end('{"data":[]}'), /no such model/],
  ["a list of something else", (_, response) => response.end('{"data":[1,null,{"id":7}]}'), /no such model/],
  ["a redirect", (_, response) => response.writeHead(302, { location: "/elsewhere" }).end(), /redirect/],
  [
    "a cut-off answer",
    (_, response) => {
      response.writeHead(200, { "content-length": "1000" });
      response.write("{");
      setImmediate(() => response.destroy());
    },
    /terminated|other side closed/,
  ],
  [
    "an endless answer",
    (_, response) => {
      const more = () => {
        while (response.write(" ".repeat(16_384)));
      };
      response.on("drain", more);
      more();
    },
    /more than 65536 bytes/,
  ],
];

for (const [what, listener, expected] of FAILURES) {
  test(`${what} leaves every list as it was`, async () => {
    const url = await serve(listener);
    const answer = await lists(url, url);
    assert.deepEqual(answer.lists, PREVIOUS);
    assert.equal(answer.warnings.length, 3);
    for (const warning of answer.warnings) assert.match(warning, expected);
  });
}

test("a server that does not answer in time leaves every list as it was", async () => {
  let arrived = 0;
  const silent = await serve(() => void arrived++);
  const headOnly = await serve((_, response) => {
    arrived++;
    response.writeHead(200).flushHeaders();
  });
  for (const url of [silent, headOnly]) {
    const answer = await lists(url, url, { ...BOUNDS, milliseconds: 200 });
    assert.deepEqual(answer.lists, PREVIOUS);
    for (const warning of answer.warnings) assert.match(warning, /within 200 ms/);
  }
  assert.equal(arrived, 4);
});

test("a server that is not there leaves every list as it was", async () => {
  const answer = await lists("http://127.0.0.1:9/", "http://127.0.0.1:9/");
  assert.deepEqual(answer.lists, PREVIOUS);
  assert.equal(answer.warnings.length, 3);
});

test("an address that is none leaves every list as it was", async () => {
  const answer = await lists("openrouter", "llama");
  assert.deepEqual(answer.lists, PREVIOUS);
  assert.match(answer.warnings.join(), /Invalid URL/);
});

test("one list that cannot be had leaves the others", async () => {
  const url = await serve((_, response) =>
    response.end(JSON.stringify({ data: [openrouter("a/b", "0", "0")] })),
  );
  const answer = await lists(url, "http://127.0.0.1:9");
  assert.deepEqual(answer.lists, {
    ...PREVIOUS,
    free: [{ id: "a/b", name: "A/B (free)", context: 1000, output: 100 }],
  });
  assert.equal(answer.warnings.length, 2);
});

test("free models are those without a price, minus routers, music and guards", () => {
  const data = [
    openrouter("z/one:free", "0", "0", { name: "One  A (free)" }),
    openrouter("openrouter/free", "0", "0"),
    openrouter("openrouter/elephant-alpha", "0", "0"),
    openrouter("google/lyria-3", "0", "0"),
    openrouter("meta/llama-guard-4", "0", "0"),
    openrouter("half/price", "0", "0.000001"),
    openrouter("no/price", "0", "0", { pricing: {} }),
    openrouter("odd/price", "free", "0"),
    openrouter("../../etc", "0", "0"),
    openrouter("a/two", "0.0", "0", { top_provider: null, context_length: 100_000 }),
  ];
  assert.deepEqual(freeModels({ data }), [
    { id: "a/two", name: "A/TWO (free)", context: 100_000, output: 32_768 },
    { id: "z/one:free", name: "One A (free)", context: 1000, output: 100 },
  ]);
});

test("paid models are the first 20 with a price, with the price in the name", () => {
  const data = [
    openrouter("openrouter/auto", "-1", "-1"),
    openrouter("free/one", "0", "0"),
    ...Array.from({ length: 25 }, (_, index) =>
      openrouter(`m/${String(index).padStart(2, "0")}`, "0.00000123456", "0.0000125"),
    ),
  ];
  const models = paidModels({ data });
  assert.deepEqual(
    models.map(({ id }) => id),
    Array.from({ length: 20 }, (_, index) => `m/${String(index).padStart(2, "0")}`),
  );
  assert.equal(models[0]?.name, "M/00 ($1.235/M in / $12.5/M out)");
});

test("llama.cpp's models are those that chat, with the context that they run with", () => {
  const args = (...args: string[]) => ({ status: { args } });
  const data = [
    { id: "chat", ...args("llama-server", "--model", "/m.gguf", "--ctx-size", "65536") },
    { id: "small", ...args("--hf-repo", "a/b", "--ctx-size", "4096") },
    { id: "no-size", ...args("--model", "m") },
    { id: "vectors", ...args("--model", "m", "--embeddings") },
    { id: "no-model", ...args("llama-server") },
  ];
  assert.deepEqual(
    llamaCppModels({ data }).map(({ id, context, output }) => [id, context, output]),
    [
      ["chat", 65_536, 32_768],
      ["no-size", 32_768, 32_768],
      ["small", 4096, 4096],
    ],
  );
});

test("the order in which a provider lists models changes nothing", () => {
  const data = ["c/c", "a/a", "b/b"].map((id) => openrouter(id, "0", "0"));
  assert.deepEqual(freeModels({ data }), freeModels({ data: [...data].reverse() }));
});

test("the committed lists are lists, and no other value is", () => {
  assert.ok(areLists(committed) && committed.free.length > 0 && committed.paid.length > 0);
  const others = [
    undefined,
    null,
    [],
    {},
    { ...committed, local: undefined },
    { ...committed, free: [{ id: "x" }] },
  ];
  assert.deepEqual(
    others.map(areLists),
    others.map(() => false),
  );
});
