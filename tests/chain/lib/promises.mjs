// What every recipe promises, shown with the real proxies: each subtest's name is the promise.

import assert from "node:assert/strict";
import { once } from "node:events";
import { after, before, describe, test } from "node:test";
import { startBrowser } from "../../journey/fixtures/browser.mjs";
import { eventually } from "../../journey/fixtures/gate.mjs";
import * as opencode from "../../journey/fixtures/opencode-page.mjs";
import { Client } from "./client.mjs";
import { ALICE, BOB, PROXY_SECRET, startRecipe } from "./recipe.mjs";


/**
 * Paths by which a client may try to reach oauth2-proxy at a session's host. The last ones are spelt so that a
 * proxy's rule and oauth2-proxy may read them differently.
 */
const SIGN_IN_PATHS = [
  "/oauth2/auth", "/oauth2/userinfo", "/oauth2/", "/oauth2", "/oauth2/sign_in", "/oauth2/start", "/oauth2/callback", "/oauth2/static/css/bulma.min.css",
  "/oauth2/static/../auth", "/oauth2/static/%2e%2e/auth", "/oauth2/auth/../static/x", "/oauth2/auth/%2e%2e/static/x", "/oauth2/start/..%2fauth",
  "//oauth2/auth", "/oauth2//auth", "/%6fauth2/auth", "/oauth2%2fauth", "/OAUTH2/auth", "/oauth2/auth/", "/oauth2/auth;x", "/./oauth2/auth", "/x/../oauth2/userinfo",
  "/oauth2/static/x", "/oauth2/nothing", "/.sign-in/check", "/robots.txt", "/ping", "/ready",
];

const callApi = (recipe, client, path, { method = "GET", headers = {}, body } = {}) => {
  const change = method === "GET" ? {} : { origin: recipe.site, "content-type": "application/json" };
  return client.request(`${recipe.site}/api${path}`, { method, headers: { accept: "application/json", ...change, ...headers }, body: body && JSON.stringify(body) });
};

/** Starts a session as a user who is signed in, and waits until it runs. */
export async function startSession(recipe, client) {
  const created = await callApi(recipe, client, "/sessions", { method: "POST", body: {} });
  assert.equal(created.status, 201, created.body);
  const { hash } = JSON.parse(created.body);
  const session = await eventually("the session runs", async () => {
    const session = JSON.parse((await callApi(recipe, client, `/sessions/${hash}`)).body);
    assert.notEqual(session.state, "failed", JSON.stringify(session));
    return session.state === "running" && session;
  }, 60_000);
  return { hash, host: `http://${hash}${recipe.suffix}.${recipe.domain}`, landing: session.url };
}

/** Opens a session's page in a browser that nobody has signed in with. */
export async function openSession(recipe, browser, { host, landing }) {
  const page = await browser.page();
  page.context().setDefaultTimeout(60_000);
  await page.goto(recipe.kind === "oauth2-proxy" ? recipe.site : landing);
  await page.getByRole("button", { name: ALICE }).click();
  if (recipe.kind === "oauth2-proxy") {
    await page.waitForURL(`${recipe.site}/`);
    await page.goto(landing);
  }
  await opencode.waitForSession(page, new URL(host).host);
  return page;
}

/** Runs the promises with the recipe `kind`. */
export function promises(kind) {
  describe(kind, { timeout: 600_000 }, () => suite(kind));
}

function suite(kind) {
  let recipe;
  let browser;
  const alice = new Client();
  let hash;
  let host;
  let landing;
  let page;
  const api = (path, options = {}) => callApi(recipe, options.client ?? alice, path, options);

  /** Everything that a session and its page must not learn: tokens, cookies' values, the proxy secret. */
  const secrets = (...clients) => [PROXY_SECRET, ...recipe.provider.issued(), ...clients.flatMap((client) => client.values())];
  const assertKeeps = (text, values, what) => {
    for (const value of values) assert.ok(!text.toLowerCase().includes(value.toLowerCase()), `${what} contains ${value.slice(0, 60)}`);
  };
  const whole = (answer) => `${answer.rawHeaders.join("\n")}\n\n${answer.body}`;

  before(async () => {
    recipe = await startRecipe(kind);
    browser = await startBrowser();
  });
  after(async () => {
    await browser?.close();
    await recipe?.end();
  });

  test("nobody gets past without a sign-in", async () => {
    const stranger = new Client();
    for (const url of [`${recipe.site}/`, `http://0123456789ab.${recipe.domain}/`]) {
      const page = await stranger.open(url);
      assert.match(page.url, /\/interaction\//, `${url} leads to the provider`);
    }
    assert.equal((await api("/sessions", { client: new Client() })).status, 401);
    const upgrade = { connection: "Upgrade", upgrade: "websocket", "sec-websocket-version": "13", "sec-websocket-key": "AAAAAAAAAAAAAAAAAAAAAA==", "sec-fetch-mode": "websocket" };
    const socket = await stranger.request(`http://0123456789ab.${recipe.domain}/pty/x/connect`, { headers: upgrade });
    assert.ok([401, 302].includes(socket.status), `${socket.status}`);
    assert.equal(recipe.forwarded(), "", "the router received nothing");
  });

  test("a user signs in once, and the site answers", async () => {
    const page = await alice.signIn(`${recipe.site}/`, ALICE);
    assert.equal(page.url, `${recipe.site}/`);
    assert.equal(page.status, 200);
    assert.match(page.body, /<div id="root"|<!doctype html>/i);
    assert.equal((await api("/sessions")).status, 200);
    assert.match(alice.cookies(new URL(recipe.site).host), /_oauth2_proxy_1=/, "a large sign-in has several cookies");
  });

  test("the session's host answers without another sign-in", async () => {
    ({ hash, host, landing } = await startSession(recipe, alice));
    const answer = await alice.request(`${host}/session`, { headers: { accept: "application/json" } });
    assert.equal(answer.status, 200, answer.body);
  });

  const ends = kind === "oauth2-proxy" ? "ends at the site" : "ends there, with the whole address";
  test(`a sign-in that begins at a session's host ${ends}`, async () => {
    const path = "/deep/page?a=1&b=%2F%26";
    // As the proxy, oauth2-proxy keeps the path and loses the host.
    const end = kind === "oauth2-proxy" ? recipe.site : host;
    assert.equal((await new Client().signIn(`${host}${path}`, ALICE)).url, `${end}${path}`);
  });

  test("several sign-ins may begin at once", async () => {
    const client = new Client();
    const first = await client.open(`${recipe.site}/`);
    for (let n = 0; n < 3; n++) await client.open(`${host}/other`);
    const headers = { "content-type": "application/x-www-form-urlencoded" };
    const page = await client.open(first.url, { method: "POST", headers, body: `email=${encodeURIComponent(ALICE)}` });
    assert.equal(page.status, 200, page.body);
    assert.equal(page.url, `${recipe.site}/`);
    // What the other sign-ins left behind stays with the browser, too.
    assert.match(client.cookies(new URL(host).host), /_csrf=/);
    assert.equal((await client.request(`${host}/session`)).status, 200);
  });

  test("events arrive one by one", async () => {
    const events = await alice.request(`${host}/global/event`, { headers: { accept: "text/event-stream" }, stream: true });
    assert.equal(events.status, 200);
    const [first] = await once(events.response, "data");
    assert.match(first.toString(), /server\.connected/);
    events.close();
  });

  test("paths and bodies arrive as they were sent", async () => {
    const marker = `marker-${hash}`;
    // Traefik and oauth2-proxy merge slashes.
    const path = kind === "nginx" ? `/%2F/file%2F${marker}//x?q=%2F` : `/%2F/file%2F${marker}/x?q=%2F`;
    await alice.request(host, { path });
    await eventually("the path was received", () => recipe.received().includes(`${path} HTTP/1.1`));
    const body = JSON.stringify({ marker, filler: "x".repeat(3_000_000) });
    const answer = await alice.request(`${host}/log`, { method: "POST", headers: { origin: host, "content-type": "application/json" }, body });
    assert.notEqual(answer.status, 413);
    await eventually("the body was received", () => recipe.received().length > 3_000_000);
  });

  test("headers that a client makes up name nobody", async () => {
    const made = { "x-auth-request-email": ALICE, "x-forwarded-email": ALICE, "x-auth-request-user": ALICE, "x-router-proxy-secret": PROXY_SECRET, "x-auth-request-access-token": "made-up", "gap-auth": ALICE };
    const stranger = new Client();
    assert.equal((await api("/sessions", { client: stranger, headers: made })).status, 401);
    const atSession = await stranger.request(`${host}/session`, { headers: { accept: "application/json", ...made } });
    assert.ok([401, 302].includes(atSession.status), `${atSession.status}`);
    // Bob remains Bob, whatever he calls himself.
    const bob = new Client();
    assert.equal((await bob.signIn(`${recipe.site}/`, BOB)).status, 200);
    for (const headers of [made, { ...made, "x-forwarded-access-token": "made-up", "x-auth-request-token": "made-up" }]) {
      const sessions = await api("/sessions", { client: bob, headers });
      assert.equal(sessions.status, 200, sessions.body);
      assert.ok(!sessions.body.includes(hash), "Alice's session is not Bob's");
      assert.equal((await bob.request(`${host}/session`, { headers })).status, 404);
    }
    const underscored = await api(`/sessions/${hash}`, { client: bob, headers: { x_auth_request_email: ALICE, X_Auth_Request_Email: ALICE, x_router_proxy_secret: PROXY_SECRET } });
    assert.ok([400, 404].includes(underscored.status), `${underscored.status}`);
    assertKeeps(recipe.received(), ["made-up"], "what the session received");
    // What the proxy sends to the router, byte by byte: its own secret and tokens, and none of a client's.
    const forwarded = recipe.forwarded();
    assert.ok(forwarded.includes(PROXY_SECRET) && recipe.provider.issued().some((token) => forwarded.includes(token)));
    assertKeeps(forwarded, ["made-up"], "what the proxy forwards");
  });

  test("a browser signs in at the provider's page, and the session's terminal echoes", async () => {
    page = await openSession(recipe, browser, { host, landing });
    const terminal = await opencode.openTerminal(page);
    await terminal.run("echo from-$((6 * 7))-the-shell", "from-42-the-shell");
  });

  test("a session's page reads nothing at /oauth2/, at its own host and at the site's", async () => {
    const cookies = (await page.context().cookies()).map(({ value }) => value).filter((value) => value.length > 8);
    assert.ok(cookies.length > 0);
    const readByPage = await page.evaluate(async ({ site, paths }) => {
      const read = async (address, options) => {
        try {
          const response = await fetch(address, options);
          return `${address} ${response.status} ${JSON.stringify([...response.headers])} ${await response.text()}`;
        } catch (error) {
          return `${address} ${error}`;
        }
      };
      const all = [await read("/session"), document.cookie];
      for (const path of paths) {
        all.push(await read(path, { redirect: "manual" }));
        for (const mode of ["cors", "no-cors"]) all.push(await read(`${site}${path}`, { credentials: "include", mode, redirect: "manual" }));
      }
      return all;
    }, { site: recipe.site, paths: SIGN_IN_PATHS });
    const values = [...secrets(alice), ...cookies];
    // As the proxy, oauth2-proxy adds `GAP-Auth: <the user's address>` to every answer; no setting stops it.
    if (kind !== "oauth2-proxy") values.push(ALICE);
    assert.match(readByPage[0], / 200 /, "the page may fetch");
    for (const text of readByPage) assertKeeps(text, values, `what a page reads (${text.slice(0, 200)})`);
  });

  test("no path of oauth2-proxy says to a client what it says to the proxy", async () => {
    const values = secrets(alice);
    if (kind !== "oauth2-proxy") values.push(ALICE);
    for (const base of [host, recipe.site]) {
      for (const path of SIGN_IN_PATHS) {
        for (const headers of [{}, { accept: "application/json" }, { "x-forwarded-uri": "/oauth2/auth", "x-original-url": "/oauth2/auth", "x-forwarded-host": "opencode.localhost" }]) {
          const answer = await alice.request(base, { path, headers: { origin: host, ...headers } });
          // A sign-in sets a cookie of its own: the client may have that.
          const set = answer.headers["set-cookie"] ?? [];
          assertKeeps(whole(answer).replaceAll(/(?<=^|\n)set-cookie\n.*/gi, ""), values, `${base}${path} (${answer.status}, ${set.length} cookies)`);
          assert.equal(answer.headers["access-control-allow-origin"] === host && base === recipe.site, false, "no other origin may read the site");
        }
      }
    }
  });

  test("nothing of the sign-in reaches the session", async () => {
    const received = recipe.received();
    assert.ok(received.includes("GET /session"), "the record has requests");
    assertKeeps(received, [...secrets(alice), ALICE, BOB, "x-auth-request", "x-router-proxy-secret", "_oauth2_proxy", "gap-auth"], "what the session received");
  });

  test("cookies of other applications on the domain reach the session: what sharing a domain costs", async () => {
    const cookie = `${alice.cookies(new URL(host).hostname)}; their_login=of-another-application`;
    await alice.request(`${host}/session`, { headers: { accept: "application/json", cookie } });
    await eventually("the cookie was received", () => recipe.received().includes("their_login=of-another-application"));
    assertKeeps(recipe.received(), secrets(alice), "what the session received");
  });

  test("after signing out, neither the site nor a session answers", async () => {
    const providers = `${recipe.provider.issuer}/session/end`;
    const out = await alice.request(`${recipe.site}/oauth2/sign_out?rd=${encodeURIComponent(providers)}`);
    assert.equal(out.status, 302);
    assert.equal(out.headers.location, providers, "the provider's own sign-out follows");
    assert.equal((await api("/sessions")).status, 401);
    const atSession = await alice.request(`${host}/session`, { headers: { accept: "application/json" } });
    assert.ok([401, 302].includes(atSession.status), `${atSession.status}`);
  });
}
