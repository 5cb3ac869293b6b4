// The whole chain on a real node: Chromium, the edge that serves what the operator wrote to Cloudflare's API,
// Traefik, oauth2-proxy with an OIDC provider, the router, a session's Pod, opencode.

import assert from "node:assert/strict";
import { test } from "node:test";
import { calls, inPod, kubectl, objects, podOf, routersLog, tracesOf } from "../journey/cluster.mjs";
import { stepper } from "../journey/world.mjs";
import { screenshot } from "../../journey/fixtures/browser.mjs";
import { eventually } from "../../journey/fixtures/gate.mjs";
import * as opencode from "../../journey/fixtures/opencode-page.mjs";
import * as site from "../../journey/fixtures/site.mjs";
import { DOMAIN, TRAEFIK } from "./cloudflare.mjs";
import { startEcho } from "./echo.mjs";
import { cookiesOf, create, reaches, signIn, startWorld } from "./world.mjs";

const ALICE = "alice@example.test";
const BOB = "bob@example.test";
/** The sign-in's cookie; oauth2-proxy may divide it into `_oauth2_proxy_0` and so on. */
const COOKIE = "_oauth2_proxy";
/** The port of the application in the session. */
const APP = 3000;
const OPERATOR = "opencode-router-cloudflare";
const operatorsPod = async () => (await objects("pods", "--selector=app.kubernetes.io/name=opencode-cloudflare-operator", "--field-selector=status.phase=Running"))[0];
const operatorsLog = () => kubectl(["logs", `deployment/${OPERATOR}`, "--tail=-1"]).catch((error) => String(error));

/** The headers of a browser that opens a page. */
const NAVIGATION = { accept: "text/html", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document" };

test("the whole chain", { timeout: 900_000 }, async (t) => {
  let world;
  let page;
  let hash;
  let host;
  const step = stepper(t, async () => {
    if (page) await screenshot(page, "chain-failed").catch(() => {});
    console.error(`At ${page?.url()}; the router's log ends:\n${(await routersLog()).slice(-1500)}`);
    for (const [namespace, name] of [["traefik-system", "traefik"], ["opencode", "oauth2-proxy"], ["opencode", OPERATOR]]) {
      console.error(`${name}'s log ends:\n${await kubectl(["--namespace", namespace, "logs", `deployment/${name}`, "--tail=8"])}`);
    }
    console.error(await kubectl(["get", "pods,pvc", "--output", "wide"]));
  });
  /** What Cloudflare's API has of the hosts below the domain, apart from what it had at the beginning. */
  let before;
  const added = async () => {
    const { records, config } = await world.cloudflare.state();
    const isNew = (list, key) => (one) => one[key] && !list.some((other) => other[key] === one[key]);
    return { records: records.filter(isNew(before.records, "name")).map(({ name }) => name).sort(), rules: config.ingress.filter(isNew(before.config.ingress, "hostname")).map(({ hostname }) => hostname).sort() };
  };
  /** The IngressRoutes that the operator wrote. */
  const routes = async () => (await objects("ingressroutes.traefik.io", "--selector=app.kubernetes.io/managed-by=opencode-cloudflare-operator")).map(({ metadata }) => metadata.name).sort();
  /** Whether an answer is a refusal or leads to the sign-in, without anything of the site or a session in it. */
  const isRefused = ({ status, headers }) => [401, 403].includes(status) || (status === 302 && new URL(headers.location).origin === world.oidc.issuer);

  try {
    await step("Traefik, oauth2-proxy, router and operator become ready, installed by the recipe's files and the chart", async () => {
      world = await startWorld({ routes: "per-session" });
      before = await world.cloudflare.state();
      const { spec } = await operatorsPod();
      assert.equal(spec.serviceAccountName, OPERATOR);
      assert.equal(spec.containers[0].securityContext.readOnlyRootFilesystem, true);
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

    await step("The operator wrote records, rules and routes of the session's two hosts, and left everything else as it was", async () => {
      const hosts = [host, `attach-${host}`].sort();
      assert.deepEqual(await added(), { records: hosts, rules: hosts });
      assert.deepEqual((await routes()).sort(), [`opencode-session-${hash}-app`, `opencode-session-${hash}-signin`, `opencode-session-attach-${hash}-attach`].sort());
      const { records, config } = await world.cloudflare.state();
      assert.deepEqual(records.filter(({ name }) => !hosts.includes(name)), before.records);
      const isOurs = ({ hostname }) => hosts.includes(hostname);
      assert.deepEqual(config.ingress.filter(isOurs).map(({ service }) => service), [TRAEFIK, TRAEFIK]);
      assert.deepEqual({ ...config, ingress: config.ingress.filter((rule) => !isOurs(rule)) }, before.config);
    });

    await step("A program attaches with a token and without a sign-in, and reaches nothing else so", async () => {
      const cookies = await cookiesOf(page);
      const made = await world.ask(DOMAIN, `/api/sessions/${hash}/attach-tokens`, { method: "POST", headers: cookies, body: { name: "chain" } });
      assert.equal(made.status, 201);
      const { token, id, attachUrl } = made.json;
      assert.equal(attachUrl, `https://attach-${host}`);
      const headers = { authorization: `Basic ${Buffer.from(`opencode:${token}`).toString("base64")}` };
      await eventually("the token lets in", async () => (await world.ask(`attach-${host}`, "/session", { headers })).status === 200);
      // Neither a wrong token nor a sign-in lets in. The token opens neither the session's host nor the
      // site.
      assert.equal((await world.ask(`attach-${host}`, "/session", { headers: { authorization: "Bearer wrong" } })).status, 401);
      assert.equal((await world.ask(`attach-${host}`, "/session", { headers: cookies })).status, 401);
      for (const [name, path] of [[host, "/session"], [DOMAIN, "/api/sessions"]]) assert.ok(isRefused(await world.ask(name, path, { headers })), name);
      assert.equal((await world.ask(DOMAIN, `/api/sessions/${hash}/attach-tokens/${id}`, { method: "DELETE", headers: cookies })).status, 204);
      assert.equal((await world.ask(`attach-${host}`, "/session", { headers })).status, 401);
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
      // No operator knows the ports in advance: their hosts need a wildcard, or a record made by hand.
      const app = `${APP}-${host}`;
      assert.equal((await world.ask(app, "/")).resolves, false);
      await world.cloudflare.publish(app);
      await eventually("the edge knows it", async () => (await world.ask(app, "/")).resolves);
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
      for (const line of ["GET /page ", "POST /fetched ", "GET /socket ", "GET /forged ", own, `host: localhost:${APP}`]) assert.ok(bytes.toLowerCase().includes(line.toLowerCase()), `${line} did not arrive:\n${bytes}`);
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

    await step("A stopped session answers at its host, and a link there starts it and leads back to the address", async () => {
      const address = new URL((await world.ask(DOMAIN, `/api/sessions/${hash}`, { headers: await cookiesOf(page) })).json.url);
      await page.goto("about:blank");
      const { status } = await world.ask(DOMAIN, `/api/sessions/${hash}/stop`, { method: "POST", headers: await cookiesOf(page) });
      assert.equal(status, 200);
      await reaches(world, page, hash, "stopped");
      const asPage = { "sec-fetch-mode": "cors", "sec-fetch-site": "same-origin", ...(await cookiesOf(page)) };
      assert.equal((await world.ask(host, "/session", { headers: asPage })).status, 503);
      assert.equal((await routes()).length, 3);
      await page.goto(`https://${host}${address.pathname}?from=mail`);
      assert.ok(page.url().startsWith(`${world.site}/session/${hash}?to=`), page.url());
      await page.waitForURL(`https://${host}${address.pathname}?from=mail`, { timeout: 60_000 });
      await opencode.waitForSession(page, host);
      await opencode.waitForAnswer(page, "Answer to: say hello");
    });

    await step("Routes that somebody removes or changes are restored", async () => {
      const [app, entrance] = [`opencode-session-${hash}-app`, `opencode-session-${hash}-signin`];
      await kubectl(["delete", "ingressroute.traefik.io", entrance]);
      // Without its middlewares, the route would lead past the sign-in.
      await kubectl(["patch", "ingressroute.traefik.io", app, "--type=json", '--patch=[{"op":"remove","path":"/spec/routes/0/middlewares"}]']);
      await eventually("both are as before", async () => {
        const [found] = await objects("ingressroutes.traefik.io", `--field-selector=metadata.name=${app}`);
        return found.spec.routes[0].middlewares && (await routes()).includes(entrance);
      });
      await eventually("nobody passes by the sign-in", async () => isRefused(await world.ask(host, "/global/health")));
    });

    let second;
    await step("While Cloudflare fails and the operator is killed, sessions are served; then the new one's host follows", async () => {
      await world.cloudflare.addFault({ kind: "status", status: 503, times: 100_000 });
      second = await create(world, page, { repoUrl: world.git.url("widgets"), branch: "fix/second" });
      const { metadata, status } = await operatorsPod();
      await eventually("the operator reports the failure", async () => /cloudflare[^\n]*503/i.test(await (await fetch(`http://${status.podIP}:8081/readyz`)).text()));
      assert.equal((await world.ask(host, "/global/health", { headers: await cookiesOf(page) })).status, 200);
      await kubectl(["delete", "pod", metadata.name, "--grace-period=0", "--force"]);
      assert.equal((await world.ask(`${second}.${DOMAIN}`, "/")).resolves, false);
      await reaches(world, page, second, "running");
      await world.cloudflare.clearFaults();
      await eventually("the new session's host answers", async () => (await world.ask(`${second}.${DOMAIN}`, "/global/health", { headers: await cookiesOf(page) })).status === 200, 120_000);
      const hosts = [host, `${second}.${DOMAIN}`].flatMap((name) => [name, `attach-${name}`]);
      assert.deepEqual((await added()).records, [`${APP}-${host}`, ...hosts].sort());
    });

    await step("A deleted session's host disappears from DNS, the tunnel and Traefik", async () => {
      assert.equal((await world.ask(DOMAIN, `/api/sessions/${second}`, { method: "DELETE", headers: await cookiesOf(page) })).status, 204);
      await eventually("its host does not resolve", async () => !(await world.ask(`${second}.${DOMAIN}`, "/")).resolves, 60_000);
      await eventually("its rule is gone", async () => !(await added()).rules.includes(`${second}.${DOMAIN}`));
      await eventually("its routes are gone", async () => !(await routes()).some((name) => name.includes(second)));
      await eventually("its Pod is gone", async () => !(await podOf(second)) && (await tracesOf(second)).length === 0, 60_000);
      assert.equal((await world.ask(host, "/global/health", { headers: await cookiesOf(page) })).status, 200);
    });

    await step("With ROUTES=wildcard one record, one rule and one set of routes serve all sessions and their ports", async () => {
      await world.install("wildcard");
      await eventually("the wildcard takes the place of the session's own", async () => {
        const { records, rules } = await added();
        return [records, rules].every((names) => names.includes(`*.${DOMAIN}`) && !names.includes(host));
      }, 120_000);
      await eventually("one set of routes is left", async () => (await routes()).every((name) => !name.includes(hash)));
      assert.equal((await world.ask(host, "/global/health", { headers: await cookiesOf(page) })).status, 200);
      assert.equal((await world.ask(`attach-${host}`, "/session")).status, 401);
      // A port that nobody published by hand.
      await startEcho(hash, 5173);
      assert.equal((await world.ask(`5173-${host}`, "/", { headers: await cookiesOf(page) })).status, 200);
      assert.ok(isRefused(await world.ask(host, "/global/health")));
      const third = await create(world, page, { repoUrl: world.git.url("widgets"), branch: "fix/third" });
      await reaches(world, page, third, "running");
      assert.equal((await world.ask(`${third}.${DOMAIN}`, "/global/health", { headers: await cookiesOf(page) })).status, 200);
      assert.ok(!(await added()).records.includes(`${third}.${DOMAIN}`));
    });

    await step("What others wrote is as they left it, and the API was called rarely", async () => {
      const { records, config, most_calls_in_five_minutes: most } = await world.cloudflare.state();
      for (const record of before.records) assert.deepEqual(records.find(({ id }) => id === record.id), record);
      for (const rule of before.config.ingress) assert.ok(config.ingress.some((one) => JSON.stringify(one) === JSON.stringify(rule)), JSON.stringify(rule));
      const byHand = `${APP}-${host}`;
      assert.ok(records.some(({ name }) => name === byHand) && config.ingress.some(({ hostname }) => hostname === byHand), `${byHand} was published by hand`);
      assert.deepEqual([config.originRequest, config["warp-routing"]], [before.config.originRequest, before.config["warp-routing"]]);
      assert.ok(most < 120, `${most} calls in 5 minutes`);
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

    await step("The operator's Role refused nothing, and each of its rights was used", async () => {
      const made = calls(0, OPERATOR);
      assert.deepEqual(made.filter(({ code }) => code === 403), []);
      const [role] = await objects("roles.rbac.authorization.k8s.io", `--field-selector=metadata.name=${OPERATOR}`);
      const allowed = role.rules.flatMap(({ resources, verbs }) => resources.flatMap((resource) => verbs.map((verb) => `${verb} ${resource}`)));
      const used = new Set(made.map(({ verb, resource }) => `${verb} ${resource}`));
      // Server-side apply of a new object is logged as a patch, and needs the right to create it as well.
      const unlogged = ["create ingressroutes"];
      assert.deepEqual(allowed.filter((right) => !used.has(right) && !unlogged.includes(right)), [], "allowed, and never used");
    });

    await step("The logs of router and operator contain no token, no secret and no e-mail address", async () => {
      const log = `${await routersLog()}\n${await operatorsLog()}`;
      for (const text of [world.secret, world.cloudflare.token, ALICE, BOB, COOKIE, ...world.oidc.issued()]) assert.ok(!log.includes(text), `a log contains ${text}`);
    });
  } finally {
    await world?.end();
  }
});
