// The product in a cluster: the router in a Pod, sessions as Pods with the real opencode, a user with a
// browser.

import assert from "node:assert/strict";
import { test } from "node:test";
import { screenshot } from "../../journey/fixtures/browser.mjs";
import { eventually } from "../../journey/fixtures/gate.mjs";
import * as opencode from "../../journey/fixtures/opencode-page.mjs";
import { get } from "../../journey/fixtures/router.mjs";
import * as site from "../../journey/fixtures/site.mjs";
import { calls, inPod, isOurs, kubectl, kubectlOpencode, objects, part, podOf, request, routers, routersLog, tracesOf } from "./cluster.mjs";
import { as, startWorld, stepper } from "./world.mjs";

const ANN = "ann@example.com";
const BOB = "bob@example.com";
/** An administrator, by `installRouter`. */
const ROOT = "root@example.com";

test("the whole journey in a cluster", { timeout: 600_000 }, async (t) => {
  let world;
  let page;
  let hash;
  let host;
  let away = 0;
  const step = stepper(t, async () => {
    if (page) await screenshot(page, "cluster-failed").catch(() => {});
    console.error(`At ${page?.url()}; the router's log ends:\n${(await routersLog()).slice(-4000)}`);
    console.error(await kubectl(["get", "pods,pvc", "--output", "wide"]));
    console.error((await kubectl(["get", "events", "--sort-by=.lastTimestamp"])).split("\n").slice(-15).join("\n"));
  });
  try {
    await step("The router becomes ready in a restricted namespace, as a non-root user with a read-only root", async () => {
      world = await startWorld();
      const [pod] = await objects("pods", "--selector=app.kubernetes.io/name=opencode-router");
      const { securityContext, image } = pod.spec.containers[0];
      assert.equal(image, process.env.TEST_ROUTER_IMAGE);
      assert.equal(securityContext.readOnlyRootFilesystem, true);
      assert.equal({ ...pod.spec.securityContext, ...securityContext }.runAsNonRoot, true);
    });

    await step("A request without a user is refused, and only the sign-in proxy may name one", async () => {
      assert.equal((await get(world.signIn.port, world.domain, "/api/sessions")).status, 401);
      // Any process may connect, but only requests from the sign-in proxy's address may name the user.
      assert.equal((await request(world.router, world.domain, "GET", "/api/sessions")).status, 401);
      for (const path of ["/livez", "/readyz", "/metrics"]) {
        const answer = await request(world.router, world.domain, "GET", path);
        assert.doesNotMatch(answer.text, /^(ok|# HELP)/, `${path} is not served on the public listener`);
      }
    });

    await step("A user's secret is set in a labelled Secret of theirs", async () => {
      const set = await site.api(world.front, "PUT", "/user/secret/JOURNEY_TOKEN", { ...as(ANN), body: { value: "from the settings" } });
      assert.deepEqual([set.status, set.json], [200, { hasSecret: true, keys: ["JOURNEY_TOKEN"] }], set.body);
      const secrets = await objects("secrets", "--selector=app.kubernetes.io/component=user-secrets");
      assert.deepEqual(secrets.map(({ data }) => data), [{ JOURNEY_TOKEN: btoa("from the settings") }]);
    });

    await step("A session is created, reports its stages as they happen, and runs", async () => {
      world.git.make("widgets", { files: { "README.md": "# Widgets\n" }, branches: ["next"], ballast: 3_000_000 });
      hash = await world.create(ANN, { repoUrl: world.git.url("widgets"), branch: "fix/first" });
      host = site.hostOf(hash, world.front);
      // The session's event stream, followed from its creation, ends when the session is usable.
      const completed = await world.completes(hash, ANN);
      const { url, stages } = await world.runs(hash, ANN);
      assert.equal(url, completed);
      assert.match(url, new RegExp(`^http://${host}/[\\w-]+/session/ses_`));
      assert.deepEqual([...new Set(stages.map(({ status }) => status))], ["done"], JSON.stringify(stages));
    });

    await step("Its Pod has no service account token, no capabilities, and runs as user 1000", async () => {
      const pod = await podOf(hash);
      assert.equal(pod.spec.automountServiceAccountToken, false);
      assert.equal(await inPod(hash, "id", "-u"), "1000");
      assert.equal(await inPod(hash, "sh", "-c", "ls /var/run/secrets/kubernetes.io 2>/dev/null | wc -l"), "0");
      assert.equal(await inPod(hash, "grep", "CapEff", "/proc/self/status"), "CapEff:\t0000000000000000");
    });

    await step("The Pod has the user's secret in its environment, and names it without containing it", async () => {
      assert.equal(await inPod(hash, "printenv", "JOURNEY_TOKEN"), "from the settings");
      assert.doesNotMatch(JSON.stringify(await podOf(hash)), /from the settings/);
      const cleared = await site.api(world.front, "DELETE", "/user/secret", as(ANN));
      assert.equal(cleared.status, 200, cleared.body);
      assert.deepEqual(await objects("secrets", "--selector=app.kubernetes.io/component=user-secrets"), []);
      assert.equal(await inPod(hash, "printenv", "JOURNEY_TOKEN"), "from the settings", "until the session's next start");
    });

    await step("A request from a session's Pod is refused, whatever user it names", async () => {
      const asked = (...more) => inPod(hash, "curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", "-H", `Host: ${world.domain}`, ...more, `http://${world.router.host}:${world.router.port}/api/sessions`);
      assert.equal(await asked("-H", `X-Auth-Request-Email: ${BOB}`), "401");
      assert.equal(await asked(), "401");
    });

    await step("The page becomes opencode in the repository, and a prompt is answered", async () => {
      page = await world.page(ANN, host);
      await site.openHome(page, world.front);
      await site.row(page, hash).waitFor();
      await page.goto(`${world.front.url}/session/${hash}`);
      await opencode.waitForSession(page, host);
      await opencode.sendPrompt(page, "say hello");
      await opencode.waitForAnswer(page, "Answer to: say hello");
      await screenshot(page, "cluster-opencode");
    });

    await step("A terminal is on the requested branch, and nothing of the sign-in reached the Pod", async () => {
      const terminal = await opencode.openTerminal(page);
      assert.equal(terminal.url.host, host);
      await terminal.run("git branch --show-current | sed s/^/on:/", "on:fix/first");
      await terminal.run("env | grep -ci -e oauth2 -e auth-request | sed s/^/found:/", "found:0");
      await terminal.run("echo precious > note.txt; git status --short | sed s/^/now:/", "now:?? note.txt");
    });

    await step("For another user it does not exist", async () => {
      for (const path of [`/sessions/${hash}`, `/sessions/${hash}/events`]) assert.equal((await site.api(world.front, "GET", path, as(BOB))).status, 404);
      assert.equal((await get(world.signIn.port, host, "/session", as(BOB))).status, 404);
      assert.deepEqual((await site.api(world.front, "GET", "/sessions", as(BOB))).json.sessions, []);
    });

    await step("An administrator sees whose it is and on which node, and reaches nothing in it", async () => {
      const [seen] = (await site.api(world.front, "GET", "/admin/sessions", as(ROOT))).json.sessions;
      const node = (await podOf(hash)).spec.nodeName;
      assert.deepEqual({ hash: seen.hash, email: seen.email, node: seen.node, state: seen.state }, { hash, email: ANN, node, state: "running" });
      assert.equal((await site.api(world.front, "GET", "/admin/sessions", as(BOB))).status, 404);
      assert.equal((await get(world.signIn.port, host, "/session", as(ROOT))).status, 404);
    });

    await step("While the API server is down, a running session and the list are served", async (t) => {
      if (!isOurs) return t.skip("a foreign cluster is not disturbed");
      away = Date.now();
      await part("stop", "kube-apiserver");
      try {
        await assert.rejects(kubectl(["get", "pods", "--request-timeout=2s"]));
        for (let n = 0; n < 5; n++) assert.equal((await get(world.signIn.port, host, "/global/health", as(ANN))).status, 200);
        assert.deepEqual((await site.api(world.front, "GET", "/sessions", as(ANN))).json.sessions.map((session) => [session.hash, session.state]), [[hash, "running"]]);
      } finally {
        await part("start", "kube-apiserver");
      }
      await eventually("the API server is back", () => kubectl(["get", "pods"]), 60_000);
    });

    await step("A hundred requests to a session make no call to the API server", async (t) => {
      if (!isOurs) return t.skip("there is no log of calls");
      // Meanwhile only its watches, its Lease and the activity written each minute continue.
      const from = Date.now();
      for (let n = 0; n < 100; n++) await get(world.signIn.port, host, "/session", as(ANN));
      const made = calls(from).filter(({ verb, resource }) => verb !== "watch" && resource !== "leases" && verb !== "patch");
      assert.deepEqual(made, []);
    });

    await step("A running session survives a restart of kubelet, and is served meanwhile", async (t) => {
      if (!isOurs) return t.skip("a foreign cluster is not disturbed");
      const { metadata } = await podOf(hash);
      await part("stop", "kubelet");
      try {
        for (let n = 0; n < 5; n++) assert.equal((await get(world.signIn.port, host, "/global/health", as(ANN))).status, 200);
      } finally {
        await part("start", "kubelet");
      }
      await eventually("the node is ready again", async () => (await objects("nodes"))[0].status.conditions.some(({ type, status }) => type === "Ready" && status === "True"), 60_000);
      await eventually("kubelet answers for the Pod", () => inPod(hash, "echo", "here"), 60_000);
      assert.equal((await podOf(hash)).metadata.uid, metadata.uid);
      assert.equal((await site.getSession(world.front, hash, as(ANN))).state, "running");
    });

    await step("A stop ends its Pod long before the grace period is over, and keeps its volume", async () => {
      const started = Date.now();
      assert.equal((await site.api(world.front, "POST", `/sessions/${hash}/stop`, as(ANN))).status, 200);
      await eventually("it is stopped", async () => (await site.getSession(world.front, hash, as(ANN))).state === "stopped");
      // It would be killed after 30 s.
      assert.ok(Date.now() - started < 15_000, `it took ${Date.now() - started} ms`);
      assert.equal(await podOf(hash), undefined);
      assert.ok((await tracesOf(hash)).includes(`PersistentVolumeClaim opencode-pvc-${hash}`));
    });

    await step("A resume brings back the conversation and the uncommitted file", async () => {
      page = await world.page(ANN, host);
      await page.goto(`${world.front.url}/session/${hash}`);
      await page.getByRole("button", { name: "Resume" }).click();
      await opencode.waitForSession(page, host);
      await opencode.waitForAnswer(page, "Answer to: say hello");
      await opencode.assertPrompts(page, ["say hello"]);
      assert.equal(await inPod(hash, "cat", "/home/opencode/repo/note.txt"), "precious");
    });

    await step("A killed router knows the session after its restart, and serves it", async () => {
      await kubectl(["delete", "pods", "--selector=app.kubernetes.io/name=opencode-router", "--grace-period=0", "--force"]);
      await kubectl(["rollout", "status", "deployment/opencode-router", "--timeout=60s"], { timeout: 70_000 });
      // Until the node learns of the new endpoint, a connection leads to the killed Pod and hangs.
      await eventually("the router's Service answers", () => request(world.router, world.domain, "GET", "/", { timeout: 1000 }));
      await eventually("the new router shows it as running", async () => (await site.getSession(world.front, hash, as(ANN))).state === "running");
      assert.equal((await get(world.signIn.port, host, "/global/health", as(ANN))).status, 200);
    });

    await step("Two routers see each other's changes at once, and one serves on if the other is killed", async (t) => {
      if (!isOurs) return t.skip("single Pods can't be reached from here");
      await world.install({ replicas: 2 });
      const [one, other] = (await routers()).map(({ metadata, status }) => ({ name: metadata.name, address: status.podIP }));
      const ask = ({ address }, method, path, body) => request({ host: address, port: 3000 }, world.domain, method, `/api${path}`, { headers: { "x-auth-request-email": ANN }, body });
      const made = await ask(one, "POST", "/sessions", { repoUrl: world.git.url("widgets"), branch: "next" });
      assert.equal(made.status, 201);
      const second = made.json.hash;
      await eventually("the other shows it", async () => (await ask(other, "GET", `/sessions/${second}`)).status === 200);
      await kubectl(["delete", "pod", one.name, "--grace-period=0", "--force"]);
      await eventually("the other shows it as running", async () => (await ask(other, "GET", `/sessions/${second}`)).json.state === "running", 60_000);
      assert.equal((await ask(other, "DELETE", `/sessions/${second}`)).status, 204);
      await eventually("its objects are gone", async () => (await tracesOf(second)).length === 0, 60_000);
      assert.equal((await ask(other, "GET", `/sessions/${hash}`)).json.state, "running");
    });

    await step("An administrator finds it with kubectl alone, reads its log, stops and resumes it; the router shows the result", async () => {
      const [row] = JSON.parse(await kubectlOpencode("list", "--user", ANN, "--output", "json")).sessions;
      assert.deepEqual([row.hash, row.state, row.email], [hash, "running", ANN]);
      assert.match(await kubectlOpencode("logs", hash.slice(0, 6)), /listening/);
      assert.equal(await kubectlOpencode("stop", hash), hash);
      await eventually("the router shows why it is stopped", async () => (await site.getSession(world.front, hash, as(ANN))).reason?.code === "requested", 60_000);
      assert.equal(await kubectlOpencode("resume", hash, "--wait"), hash);
      await world.runs(hash, ANN);
      assert.equal(await inPod(hash, "cat", "/home/opencode/repo/note.txt"), "precious");
    });

    await step("A missing repository is named as the failure, with git's message, and a second attempt succeeds", async () => {
      const missing = await world.create(ANN, { repoUrl: world.git.url("gadgets"), branch: "main" });
      const reason = await world.fails(missing, ANN);
      assert.equal(reason.code, "repository_not_found", JSON.stringify(reason));
      assert.match(reason.logTail, /fatal: /);
      assert.ok(reason.advice);
      await eventually("its Pod is gone", async () => !(await podOf(missing)), 60_000);
      world.git.make("gadgets");
      assert.equal((await site.api(world.front, "POST", `/sessions/${missing}/resume`, as(ANN))).status, 200);
      await world.runs(missing, ANN);
      assert.equal((await site.api(world.front, "DELETE", `/sessions/${missing}`, as(ANN))).status, 204);
    });

    await step("An image that can't be pulled and a memory limit that is too small are named as the failure", async () => {
      await world.install({ sessionImage: "localhost/opencode-router/not-there:1" });
      const imageless = await world.create(ANN, { branch: "no-image", repoUrl: world.git.url("widgets") });
      const pull = await world.fails(imageless, ANN);
      assert.equal(pull.code, "image_pull_failed");
      assert.match(pull.message, /not-there:1/);
      await world.install({ sessionLimits: "memory=160Mi" });
      const starved = await world.create(ANN, { branch: "no-memory", repoUrl: world.git.url("widgets") });
      const memory = await world.fails(starved, ANN);
      assert.equal(memory.code, "out_of_memory", JSON.stringify(memory));
      for (const each of [imageless, starved]) assert.equal((await site.api(world.front, "DELETE", `/sessions/${each}`, as(ANN))).status, 204);
      await world.install();
      await world.runs(hash, ANN);
    });

    await step("A delete leaves nothing behind", async () => {
      assert.equal((await site.api(world.front, "DELETE", `/sessions/${hash}`, as(ANN))).status, 204);
      await eventually("its objects are gone", async () => (await tracesOf(hash)).length === 0, 60_000);
      assert.equal((await site.api(world.front, "GET", `/sessions/${hash}`, as(ANN))).status, 404);
      assert.equal((await get(world.signIn.port, host, "/", as(ANN))).status, 404);
    });

    await step("The router's Role refused nothing, and each of its rights was used", async (t) => {
      if (!isOurs) return t.skip("there is no log of calls");
      const made = calls();
      assert.ok(made.length > 0);
      // A restarted API server briefly refuses every request, until it has read the Roles.
      assert.deepEqual(made.filter(({ code, at }) => code === 403 && !(at > away && at < away + 20_000)), []);
      const [role] = await objects("roles.rbac.authorization.k8s.io", "--field-selector=metadata.name=opencode-router");
      const allowed = role.rules.flatMap(({ resources, verbs }) => resources.flatMap((resource) => verbs.map((verb) => `${verb} ${resource}`)));
      const used = new Set(made.map(({ verb, resource }) => `${verb} ${resource}`));
      // Lists are streamed if the API server supports it; a Pod is read by name only after a race with
      // another router.
      const rare = ["list persistentvolumeclaims", "list pods", "get pods"];
      assert.deepEqual(allowed.filter((right) => !used.has(right) && !rare.includes(right)), [], "allowed, and never used");
    });

    await step("The router's log contains no e-mail address, no token and no password", async () => {
      const log = await routersLog();
      assert.doesNotMatch(log, /@example\.com|token-of-|_oauth2_proxy/);
    });
  } finally {
    await world?.end();
  }
});
