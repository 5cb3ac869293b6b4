// Two users behind a sign-in proxy: to each of them, the other's session does not exist.

import assert from "node:assert/strict";
import { test } from "node:test";
import { eventually } from "../fixtures/gate.mjs";
import * as opencode from "../fixtures/opencode-page.mjs";
import { get } from "../fixtures/router.mjs";
import { startSignIn } from "../fixtures/sign-in.mjs";
import * as site from "../fixtures/site.mjs";
import { startTestApp } from "../fixtures/test-app.mjs";

const ANN = "ann@example.com";
const BOB = "bob@example.com";
const MISSING = "0123456789ab";

const cookie = (email) => `_oauth2_proxy=${encodeURIComponent(email)}`;

test("another user's session answers like a missing one", { timeout: 120_000 }, async () => {
  const signIn = await startSignIn();
  const domain = `localhost:${signIn.port}`;
  const app = await startTestApp("two-users", { IDENTITY: "headers", TRUSTED_PROXIES: "127.0.0.1/32", ROUTER_DOMAIN: domain });
  try {
    signIn.forwardTo(app.router.port);
    // Browsers reach the site through the sign-in proxy.
    const front = { url: `http://${domain}`, port: signIn.port };
    const as = (email) => ({ headers: { cookie: cookie(email) } });
    const pageOf = async (email, ...hosts) => {
      const cookies = [domain, ...hosts].map((host) => ({ name: "_oauth2_proxy", value: encodeURIComponent(email), url: `http://${host}` }));
      return app.browser.page({ cookies });
    };

    assert.equal((await get(signIn.port, domain, "/api/sessions")).status, 401, "the sign-in proxy refuses anonymous requests");
    assert.equal((await get(app.router.port, domain, "/api/sessions")).status, 401, "so does the router");

    const made = await site.api(front, "POST", "/sessions", { ...as(ANN), body: {} });
    assert.equal(made.status, 201, made.body);
    const { hash } = made.json;
    const host = site.hostOf(hash, front);
    const { url } = await eventually("Ann's session is running", async () => {
      const session = await site.getSession(front, hash, as(ANN));
      assert.notEqual(session.state, "failed", JSON.stringify(session.reason));
      return session.state === "running" && session;
    }, 60_000);

    const annsPage = await pageOf(ANN, host);
    await annsPage.goto(url);
    await opencode.waitForSession(annsPage, host);
    const terminal = await opencode.openTerminal(annsPage);
    await terminal.run("env | grep -ci -e oauth2 -e token-of -e auth-request | sed s/^/found:/", "found:0");

    // Bob gets the same bytes for Ann's session and for a missing one, apart from the names in them.
    const getAsBob = (port, name, path, options = {}) => get(port, name, path, { ...options, headers: { ...as(BOB).headers, ...options.headers } });
    const missingHost = site.hostOf(MISSING, front);
    const comparable = ({ status, headers, body }, key) => {
      const { date, "content-length": length, "x-request-id": request, ...rest } = headers;
      return { status, headers: rest, body: body.replaceAll(key, "<hash>").replace(/"requestId":"[^"]*"/, '"requestId":"…"') };
    };
    const asPage = { accept: "text/html", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document" };
    for (const [method, path, headers] of [["GET", "/", asPage], ["GET", "/session", {}], ["GET", "/global/event", { accept: "text/event-stream" }], ["POST", "/session", { origin: `http://${host}`, "content-type": "application/json" }]]) {
      const anns = await getAsBob(signIn.port, host, path, { method, headers, body: method === "POST" ? "{}" : undefined });
      const missing = await getAsBob(signIn.port, missingHost, path, { method, headers: { ...headers, ...(headers.origin && { origin: `http://${missingHost}` }) }, body: method === "POST" ? "{}" : undefined });
      assert.equal(anns.status, 404, `${method} ${path}: ${anns.body}`);
      assert.deepEqual(comparable(anns, hash), comparable(missing, MISSING), `${method} ${path}`);
    }
    for (const [method, suffix] of [["GET", ""], ["POST", "/stop"], ["POST", "/resume"], ["DELETE", ""], ["GET", "/events"], ["GET", "/progress/stream"]]) {
      const anns = await site.api(front, method, `/sessions/${hash}${suffix}`, as(BOB));
      const missing = await site.api(front, method, `/sessions/${MISSING}${suffix}`, as(BOB));
      assert.equal(anns.status, 404, `${method} …${suffix}: ${anns.body}`);
      assert.deepEqual(comparable(anns, hash), comparable(missing, MISSING), `${method} …${suffix}`);
    }
    assert.deepEqual((await site.api(front, "GET", "/sessions", as(BOB))).json.sessions, []);
    assert.equal((await site.getSession(front, hash, as(ANN))).state, "running", "Bob's requests have no effect");

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

    // A page in the session (which a repository or a model may have written) cannot act on the site as its
    // user.
    const answer = await annsPage.evaluate(async (address) => {
      const response = await fetch(address, { method: "POST", mode: "no-cors", credentials: "include", headers: { "content-type": "text/plain" }, body: "{}" }).catch(() => undefined);
      return response?.type;
    }, `http://${domain}/api/sessions/${hash}/stop`);
    assert.ok(answer === "opaque" || answer === undefined);
    assert.equal((await site.getSession(front, hash, as(ANN))).state, "running", "a request from the session's page has no effect");
  } finally {
    await app.end();
    await signIn.close();
  }
});
