// Two people behind a sign-in proxy: to each, the other's session does not exist.

import assert from "node:assert/strict";
import { test } from "node:test";
import { eventually } from "../fixtures/gate.mjs";
import * as opencode from "../fixtures/opencode-page.mjs";
import { get } from "../fixtures/router.mjs";
import { startSignIn } from "../fixtures/sign-in.mjs";
import * as site from "../fixtures/site.mjs";
import { startWorld } from "../fixtures/world.mjs";

const ANN = "ann@example.com";
const BOB = "bob@example.com";
const NOBODYS = "0123456789ab";

const cookie = (email) => `_oauth2_proxy=${encodeURIComponent(email)}`;

test("another's session answers as one that does not exist", { timeout: 120_000 }, async () => {
  const signIn = await startSignIn();
  const domain = `localhost:${signIn.port}`;
  const world = await startWorld("two-users", { IDENTITY: "headers", TRUSTED_PROXIES: "127.0.0.1/32", ROUTER_DOMAIN: domain });
  try {
    signIn.to(world.router.port);
    // The site as browsers reach it: through the sign-in proxy.
    const front = { url: `http://${domain}`, port: signIn.port };
    const as = (email) => ({ headers: { cookie: cookie(email) } });
    const pageOf = async (email, ...hosts) => {
      const cookies = [domain, ...hosts].map((host) => ({ name: "_oauth2_proxy", value: encodeURIComponent(email), url: `http://${host}` }));
      return world.browser.page({ cookies });
    };

    assert.equal((await get(signIn.port, domain, "/api/sessions")).status, 401, "the sign-in proxy lets nobody in unnamed");
    assert.equal((await get(world.router.port, domain, "/api/sessions")).status, 401, "nor does the router");

    const made = await site.api(front, "POST", "/sessions", { ...as(ANN), body: {} });
    assert.equal(made.status, 201, made.body);
    const { hash } = made.json;
    const host = site.hostOf(hash, front);
    const { url } = await eventually("Ann's session runs", async () => {
      const it = await site.session(front, hash, as(ANN));
      assert.notEqual(it.state, "failed", JSON.stringify(it.reason));
      return it.state === "running" && it;
    }, 60_000);

    const annsPage = await pageOf(ANN, host);
    await annsPage.goto(url);
    await opencode.arrives(annsPage, host);
    const terminal = await opencode.openTerminal(annsPage);
    await terminal.run("env | grep -ci -e oauth2 -e token-of -e auth-request | sed s/^/found:/", "found:0");

    // The same bytes for what is Ann's and for what is nobody's; only the names asked for differ.
    const bob = (port, name, path, more = {}) => get(port, name, path, { ...more, headers: { ...as(BOB).headers, ...more.headers } });
    const nobodys = site.hostOf(NOBODYS, front);
    const comparable = ({ status, headers, body }, it) => {
      const { date, "content-length": length, "x-request-id": request, ...rest } = headers;
      return { status, headers: rest, body: body.replaceAll(it, "<hash>").replace(/"requestId":"[^"]*"/, '"requestId":"…"') };
    };
    const asPage = { accept: "text/html", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document" };
    for (const [method, path, headers] of [["GET", "/", asPage], ["GET", "/session", {}], ["GET", "/global/event", { accept: "text/event-stream" }], ["POST", "/session", { origin: `http://${host}`, "content-type": "application/json" }]]) {
      const anns = await bob(signIn.port, host, path, { method, headers, body: method === "POST" ? "{}" : undefined });
      const none = await bob(signIn.port, nobodys, path, { method, headers: { ...headers, ...(headers.origin && { origin: `http://${nobodys}` }) }, body: method === "POST" ? "{}" : undefined });
      assert.equal(anns.status, 404, `${method} ${path}: ${anns.body}`);
      assert.deepEqual(comparable(anns, hash), comparable(none, NOBODYS), `${method} ${path}`);
    }
    for (const [method, suffix] of [["GET", ""], ["POST", "/stop"], ["POST", "/resume"], ["DELETE", ""], ["GET", "/events"]]) {
      const anns = await site.api(front, method, `/sessions/${hash}${suffix}`, as(BOB));
      const none = await site.api(front, method, `/sessions/${NOBODYS}${suffix}`, as(BOB));
      assert.equal(anns.status, 404, `${method} …${suffix}: ${anns.body}`);
      assert.deepEqual(comparable(anns, hash), comparable(none, NOBODYS), `${method} …${suffix}`);
    }
    assert.deepEqual((await site.api(front, "GET", "/sessions", as(BOB))).json.sessions, []);
    assert.equal((await site.session(front, hash, as(ANN))).state, "running", "nothing that Bob did reached it");

    const bobsPage = await pageOf(BOB, host);
    assert.equal((await bobsPage.goto(`http://${host}/`)).status(), 404);
    await bobsPage.goto(`http://${domain}/session/${hash}`);
    await bobsPage.getByText("This session does not exist").waitFor();
    const opened = await bobsPage.evaluate((address) => new Promise((done) => {
      const socket = new WebSocket(address);
      socket.onopen = () => done("open");
      socket.onerror = () => done("refused");
    }), `ws://${host}${terminal.url.pathname}${terminal.url.search}`);
    assert.equal(opened, "refused");

    // A page of the session's own (which a repository or a model may have written) cannot act on the site for its user.
    const answer = await annsPage.evaluate(async (address) => {
      const response = await fetch(address, { method: "POST", mode: "no-cors", credentials: "include", headers: { "content-type": "text/plain" }, body: "{}" }).catch(() => undefined);
      return response?.type;
    }, `http://${domain}/api/sessions/${hash}/stop`);
    assert.ok(answer === "opaque" || answer === undefined);
    assert.equal((await site.session(front, hash, as(ANN))).state, "running", "a sibling's request does not stop it");
  } finally {
    await world.end();
    await signIn.close();
  }
});
