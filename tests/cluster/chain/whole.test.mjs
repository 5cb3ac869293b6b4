// The whole chain on a real node: Chromium, the edge that serves what Cloudflare's API has, Traefik,
// oauth2-proxy with an OIDC provider, the router, a session's Pod, opencode.

import assert from "node:assert/strict";
import { test } from "node:test";
import { inPod, kubectl, routersLog } from "../journey/cluster.mjs";
import { stepper } from "../journey/world.mjs";
import { screenshot } from "../../journey/fixtures/browser.mjs";
import * as opencode from "../../journey/fixtures/opencode-page.mjs";
import * as site from "../../journey/fixtures/site.mjs";
import { fixed } from "./cloudflare.mjs";
import { startEcho } from "./echo.mjs";
import { DOMAIN, cookiesOf, reaches, signIn, startWorld } from "./world.mjs";

const ALICE = "alice@example.test";
const BOB = "bob@example.test";
/** The sign-in's cookie; oauth2-proxy may divide it into `_oauth2_proxy_0` and so on. */
const COOKIE = "_oauth2_proxy";
/** The port of the application in the session. */
const APP = 3000;

/** The headers of a browser that opens a page. */
const NAVIGATION = { accept: "text/html", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document" };

test("the whole chain", { timeout: 600_000 }, async (t) => {
  let world;
  let page;
  let hash;
  let host;
  const step = stepper(t, async () => {
    if (page) await screenshot(page, "chain-failed").catch(() => {});
    console.error(`At ${page?.url()}; the router's log ends:\n${(await routersLog()).slice(-3000)}`);
    for (const [namespace, name] of [["traefik-system", "traefik"], ["opencode", "oauth2-proxy"]]) {
      console.error(`${name}'s log ends:\n${await kubectl(["--namespace", namespace, "logs", `deployment/${name}`, "--tail=15"])}`);
    }
    console.error(await kubectl(["get", "pods,pvc", "--output", "wide"]));
  });
  /** Whether an answer is a refusal or leads to the sign-in, without anything of the site or a session in it. */
  const isRefused = ({ status, headers }) => [401, 403].includes(status) || (status === 302 && new URL(headers.location).origin === world.oidc.issuer);

  try {
    await step("Traefik, oauth2-proxy and the router become ready, installed by the recipe's files", async () => {
      world = await startWorld({ startCloudflare: fixed, sessions: true });
    });

    await step("A host without a DNS record does not resolve, and one without a sign-in leads to the provider", async () => {
      assert.equal((await world.ask("elsewhere.example.test", "/")).resolves, false);
      const answer = await world.ask(DOMAIN, "/", { headers: NAVIGATION });
      assert.equal(answer.status, 302);
      assert.equal(new URL(answer.headers.location).origin, world.oidc.issuer);
      // Scripts are answered, not redirected.
      assert.equal((await world.ask(DOMAIN, "/api/sessions")).status, 401);
    });

    await step("A user signs in at the provider's form, and comes back to the site", async () => {
      page = await signIn(world, ALICE);
      await site.composer(page).repository.waitFor();
      const { json } = await world.ask(DOMAIN, "/api/sessions", { headers: await cookiesOf(page) });
      assert.deepEqual(json, { email: ALICE, sessions: [] });
      await screenshot(page, "chain-site");
    });

    await step("A session is created in the page, which becomes opencode on the session's host without another sign-in", async () => {
      world.git.make("widgets", { files: { "README.md": "# Widgets\n" } });
      hash = await site.createSession(page, { repository: world.git.url("widgets"), branch: "fix/chain" });
      host = `${hash}.${DOMAIN}`;
      await opencode.waitForSession(page, host);
    });

    await step("A prompt is answered, word by word", async () => {
      await opencode.sendPrompt(page, "say hello");
      await opencode.waitForAnswer(page, "Answer to: say hello");
      await screenshot(page, "chain-session");
    });

    await step("A terminal echoes", async () => {
      const terminal = await opencode.openTerminal(page);
      assert.equal(terminal.url.origin, `wss://${host}`);
      await terminal.run("git branch --show-current | sed s/^/on:/", "on:fix/chain");
    });

    await step("git in the session has the user's token, and requests bring the Pod nothing of the sign-in", async () => {
      // The token is what the router is given for git: it went through the whole chain.
      assert.ok(world.oidc.issued().includes(await inPod(hash, "printenv", "GITHUB_TOKEN")));
      const echo = await startEcho(hash, APP);
      const app = `${APP}-${host}`;
      const headers = await cookiesOf(page, app);
      assert.match(headers.cookie, new RegExp(`${COOKIE}=`));
      const tab = await page.context().newPage();
      await tab.goto(`https://${app}/page`);
      await tab.evaluate(() => fetch("/fetched", { method: "POST", body: "a body" }));
      await tab.evaluate((url) => new Promise((done) => (new WebSocket(url).onclose = done)), `wss://${app}/socket`);
      await tab.close();
      const forged = { "x-auth-request-email": BOB, "x-auth-request-user": BOB, "x-auth-request-access-token": "forged", "x-forwarded-email": BOB, "x-forwarded-user": BOB, "x-forwarded-access-token": "forged", "x-auth-request-token": "forged", "x-router-proxy-secret": "forged" };
      const own = "mine=kept";
      assert.equal((await world.ask(app, "/forged", { headers: { ...headers, ...forged, cookie: `${headers.cookie}; ${own}` } })).status, 200);
      const bytes = await echo.bytes();
      for (const line of ["GET /page ", "POST /fetched ", "GET /socket ", "GET /forged ", own, `host: ${app}`]) assert.ok(bytes.toLowerCase().includes(line.toLowerCase()), `${line} did not arrive:\n${bytes}`);
      const secrets = [COOKIE, world.secret, ...world.oidc.issued(), ...headers.cookie.split("; ").map((pair) => pair.split("=")[1]), ALICE, BOB, "forged\r"];
      for (const text of secrets) assert.ok(!bytes.includes(text), `${text} reached the Pod:\n${bytes}`);
      assert.doesNotMatch(bytes, /^(x-auth-request-|x-forwarded-(email|user|groups|preferred-username|access-token)|x-router-proxy-secret|gap-)/im);
    });

    await step("`/oauth2/*` on a session's host gives its page nothing, and the site's is out of its reach", async () => {
      const seen = await page.evaluate(async (paths) => {
        const answers = [];
        for (const path of paths) {
          // A script sees nothing of a redirect.
          const response = await fetch(path, { redirect: "manual" });
          answers.push({ path, status: response.status, headers: [...response.headers].join("\n"), text: await response.text() });
        }
        return answers;
      }, ["/oauth2/", "/oauth2/auth", "/oauth2/userinfo", "/oauth2/start", "/oauth2/sign_in", "/oauth2/static/css/bulma.min.css", "/ping", "/ready"]);
      for (const { path, headers, text } of seen) {
        for (const secret of [ALICE, ...world.oidc.issued()]) assert.ok(!`${headers}\n${text}`.includes(secret), `${path} shows ${secret}`);
        assert.doesNotMatch(headers, /x-auth-request|gap-/i, path);
      }
      for (const path of ["/oauth2/auth", "/oauth2/userinfo", "/api/sessions"]) {
        const read = page.evaluate((url) => fetch(url, { credentials: "include" }).then((response) => response.text()), `${world.site}${path}`);
        await assert.rejects(read, /Failed to fetch/, path);
      }
      // Nor does the site itself show the token to a page: a fault in the site must not give it away.
      for (const path of ["/oauth2/auth", "/oauth2/userinfo"]) {
        const { headers, text } = await world.ask(DOMAIN, path, { headers: await cookiesOf(page) });
        for (const token of world.oidc.issued()) assert.ok(!`${JSON.stringify(headers)}\n${text}`.includes(token), `${path} shows a token`);
      }
    });

    let bob;
    await step("For another user neither the session nor its application exists", async () => {
      bob = await signIn(world, BOB);
      const headers = await cookiesOf(bob);
      for (const name of [host, `${APP}-${host}`]) assert.equal((await world.ask(name, "/", { headers })).status, 404);
      assert.deepEqual((await world.ask(DOMAIN, "/api/sessions", { headers })).json, { email: BOB, sessions: [] });
      assert.equal((await world.ask(DOMAIN, `/api/sessions/${hash}`, { headers })).status, 404);
    });

    await step("Forged headers name nobody from outside, whatever they claim about the request", async () => {
      const identities = { "x-auth-request-email": ALICE, "x-forwarded-email": ALICE, "x-auth-request-user": ALICE, "x-auth-request-access-token": "forged" };
      const forgeries = [
        identities,
        { ...identities, "x-router-proxy-secret": "forged" },
        { ...identities, "x-forwarded-for": "127.0.0.1", "x-real-ip": "127.0.0.1" },
        // Paths and methods that oauth2-proxy serves to everybody.
        ...["/ping", "/ready", "/robots.txt", "/oauth2/static/css/bulma.min.css", "/oauth2/callback"].map((path) => ({ ...identities, "x-forwarded-uri": path })),
        { ...identities, "x-forwarded-method": "OPTIONS" },
        { ...identities, "x-forwarded-host": "elsewhere.example.test" },
        { ...identities, connection: "x-forwarded-proto, x-forwarded-for" },
      ];
      for (const forged of forgeries) {
        for (const [name, path] of [[DOMAIN, "/api/sessions"], [host, "/global/health"], [`${APP}-${host}`, "/"]]) {
          const anonymous = await world.ask(name, path, { headers: forged });
          assert.ok(isRefused(anonymous), `${name}${path} with ${JSON.stringify(forged)}: ${anonymous.status} ${anonymous.text}`);
          // Signed in as Bob, it is Bob who asks.
          const asBob = await world.ask(name, path, { headers: { ...forged, ...(await cookiesOf(bob)) } });
          if (name === DOMAIN && asBob.status === 200) assert.equal(asBob.json.email, BOB);
          else assert.ok([400, 404].includes(asBob.status) || isRefused(asBob), `${name}${path} with ${JSON.stringify(forged)}: ${asBob.status} ${asBob.text}`);
        }
      }
    });

    await step("Forged headers name nobody from a session's Pod either, at the router, Traefik and oauth2-proxy", async () => {
      const forged = ["-H", `X-Auth-Request-Email: ${BOB}`, "-H", "X-Router-Proxy-Secret: forged", "-H", "X-Forwarded-Proto: https", "-H", `X-Forwarded-Host: ${DOMAIN}`];
      const asked = (address) => inPod(hash, "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", `Host: ${DOMAIN}`, ...forged, `http://${address}/api/sessions`);
      for (const name of ["opencode-router.opencode.svc", "traefik-controller.traefik-system.svc", "oauth2-proxy.opencode.svc"]) assert.equal(await asked(`${name}.cluster.local`), "401", name);
    });

    await step("A stopped session answers at its host, and a link there leads to where it can be resumed", async () => {
      await page.goto("about:blank");
      const { status } = await world.ask(DOMAIN, `/api/sessions/${hash}/stop`, { method: "POST", headers: await cookiesOf(page) });
      assert.equal(status, 200);
      await reaches(world, page, hash, "stopped");
      assert.equal((await world.ask(host, "/session", { headers: await cookiesOf(page) })).status, 503);
      await page.goto(`https://${host}/`);
      assert.equal(page.url(), `${world.site}/session/${hash}`);
      await page.getByRole("button", { name: "Resume" }).click();
      await opencode.waitForSession(page, host);
      await opencode.waitForAnswer(page, "Answer to: say hello");
    });

    await step("After the sign-out neither the site nor the session answers with content", async () => {
      // The provider has a session of its own, with which it would sign the user in again.
      await page.context().clearCookies({ domain: new URL(world.oidc.issuer).hostname });
      await page.goto(`${world.site}/oauth2/sign_out`);
      await page.getByRole("heading", { name: "Sign in" }).waitFor();
      // What is left are cookies of the sign-in that just began.
      assert.doesNotMatch((await cookiesOf(page)).cookie, new RegExp(`(^|; )${COOKIE}(_\\d+)?=`));
      for (const url of [`${world.site}/`, `https://${host}/`, `https://${APP}-${host}/`]) {
        await page.goto(url);
        assert.equal(new URL(page.url()).origin, world.oidc.issuer, url);
      }
      assert.ok(isRefused(await world.ask(DOMAIN, "/api/sessions", { headers: await cookiesOf(page) })));
    });

    await step("Nobody's log contains a token, the secret or an e-mail address of the sign-in", async () => {
      const log = await routersLog();
      for (const text of [world.secret, ALICE, BOB, COOKIE, ...world.oidc.issued()]) assert.ok(!log.includes(text), `the router's log contains ${text}`);
    });
  } finally {
    await world?.end();
  }
});
