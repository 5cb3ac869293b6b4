// What a session's Pod offers, on a real node with an image that is made like the TypeScript router's:
// commits by its user, the image's own configuration, a browser, and images that are on the node before the
// first session.

import assert from "node:assert/strict";
import { test } from "node:test";
import { eventually } from "../../journey/fixtures/gate.mjs";
import * as opencode from "../../journey/fixtures/opencode-page.mjs";
import { get } from "../../journey/fixtures/router.mjs";
import * as site from "../../journey/fixtures/site.mjs";
import { IMAGES, inPod, isOurs, kubectl, kubectlOpencode, objects, podOf, routersLog } from "./cluster.mjs";
import { as, startWorld, stepper } from "./world.mjs";

const ANN = "ann.lee@example.com";
const BOB = "bob@example.com";
// Opens a page in the browser and reads its title, by DevTools alone.
const DEVTOOLS = `
const { webSocketDebuggerUrl } = await (await fetch(process.env.PLAYWRIGHT_MCP_CDP_ENDPOINT + "/json/version")).json();
const socket = new WebSocket(webSocketDebuggerUrl);
await new Promise((done, failed) => { socket.onopen = done; socket.onerror = failed; });
let last = 0;
const call = (method, params = {}, sessionId) => new Promise((done) => {
  const id = ++last;
  socket.addEventListener("message", ({ data }) => { const answer = JSON.parse(data); if (answer.id === id) done(answer.result); });
  socket.send(JSON.stringify({ id, method, params, sessionId }));
});
const { targetId } = await call("Target.createTarget", { url: "about:blank" });
const { sessionId } = await call("Target.attachToTarget", { targetId, flatten: true });
const { result } = await call("Runtime.evaluate", { expression: "document.title = 'a' + 6 * 7; document.title" }, sessionId);
console.log("title:" + result.value);
socket.close();
`;

test("a session's Pod", { timeout: 300_000, skip: !(IMAGES.original && IMAGES.chromium) && "TEST_ORIGINAL_IMAGE and TEST_CHROMIUM_IMAGE are not set" }, async (t) => {
  let world;
  let hash;
  let host;
  let terminal;
  const step = stepper(t, async () => {
    console.error((await routersLog()).slice(-3000));
    console.error(await kubectl(["get", "pods", "--output", "wide"]));
    if (hash) console.error(await kubectl(["logs", `opencode-session-${hash}`, "--all-containers", "--tail=40"]).catch(String));
    console.error((await kubectl(["get", "events", "--sort-by=.lastTimestamp"])).split("\n").slice(-12).join("\n"));
  });
  const ask = async (path) => JSON.parse((await get(world.signIn.port, host, path, as(ANN))).body);
  const open = async () => {
    const page = await world.page(ANN, host);
    const { url } = await world.runs(hash, ANN);
    await page.goto(url);
    await opencode.waitForSession(page, host);
    terminal = await opencode.openTerminal(page);
  };
  try {
    await step("The images of sessions are on the node before there is any session", async () => {
      world = await startWorld({ values: { session: { image: IMAGES.original, chromiumImage: IMAGES.chromium }, prePull: { enabled: true } } });
      const pod = await eventually("the images' containers run", async () => {
        const [pod] = await objects("pods", "--selector=app.kubernetes.io/component=prepull");
        return pod?.status.containerStatuses?.every(({ state }) => state.running) && pod;
      }, 60_000);
      assert.deepEqual(pod.spec.containers.map(({ image }) => image), [IMAGES.original, IMAGES.chromium]);
    });

    await step("A new project begins with a commit by its user, and git commit succeeds in the page's terminal", async () => {
      const files = { "opencode.json": JSON.stringify({ username: "from the ConfigMap" }), ".env": "TEAM_VARIABLE=team\n" };
      await kubectl(["create", "configmap", "opencode-config-dir", ...Object.entries(files).map(([name, text]) => `--from-literal=${name}=${text}`)]);
      hash = await world.create(ANN, {});
      host = site.hostOf(hash, world.front);
      await open();
      await terminal.run("git log --format='first:%an <%ae>'", `first:Ann Lee <${ANN}>`);
      await terminal.run("touch mine && git add mine && git commit -qm test && git log -1 --format='by:%an <%ae>'", `by:Ann Lee <${ANN}>`);
    });

    await step("The image's configuration is merged with the team's, and its agents, skills, script and plugin are used", async () => {
      await terminal.run("echo of:$TEAM_VARIABLE", "of:team");
      const { username, share } = await ask("/config");
      assert.deepEqual({ username, share }, { username: "from the ConfigMap", share: "disabled" });
      assert.ok((await ask("/agent")).some(({ name }) => name === "house"));
      const skills = (await ask("/skill")).map(({ name }) => name);
      assert.ok(["house-style", "dev-server"].every((name) => skills.includes(name)), String(skills));
      assert.equal(await inPod(hash, "cat", "/home/opencode/plugin.log"), `loaded for ${hash}`);
    });

    await step("A session knows its public names, and its secret for reports is in no manifest", async () => {
      await terminal.run("echo $OPENCODE_PORT_URL_TEMPLATE", `http://{port}-${host}`);
      await terminal.run("echo secret:${#OPENCODE_POD_SECRET}", "secret:64");
      const secret = await inPod(hash, "printenv", "OPENCODE_POD_SECRET");
      assert.match(secret, /^[0-9a-f]{64}$/);
      assert.ok(!JSON.stringify(await podOf(hash)).includes(secret));
    });

    await step("The agent has a browser: a DevTools call from the session's terminal opens a page in it", async () => {
      await inPod(hash, "sh", "-c", `cat >/tmp/devtools.mjs <<'END'\n${DEVTOOLS}\nEND`);
      await terminal.run("echo at:$PLAYWRIGHT_MCP_CDP_ENDPOINT", "at:http://localhost:9222");
      await terminal.run("node /tmp/devtools.mjs", "title:a42");
    });

    await step("Nobody reaches the browser from outside the Pod, and another user not by the router either", async () => {
      const { podIP } = (await podOf(hash)).status;
      if (isOurs) await assert.rejects(fetch(`http://${podIP}:9222/json/version`, { signal: AbortSignal.timeout(5000) }), ({ cause }) => cause?.code === "ECONNREFUSED");
      assert.equal((await get(world.signIn.port, `9222-${host}`, "/json/version", as(BOB))).status, 404);
      assert.doesNotMatch((await get(world.signIn.port, `9222-${host}`, "/json/version", as(ANN))).body, /webSocketDebuggerUrl/);
    });

    await step("What the user configured wins and survives a resume by kubectl, which knows no user; the rest stays the user's", async () => {
      await inPod(hash, "sh", "-c", "echo mine >>~/.config/opencode/agents/house.md");
      await terminal.run("git config --global user.name Annie && echo configure''d", "configured");
      assert.equal(await kubectlOpencode("stop", hash), hash);
      assert.equal(await kubectlOpencode("resume", hash, "--wait"), hash);
      await open();
      await terminal.run("git commit -q --allow-empty -m test && git log -1 --format='by:%an <%ae>'", `by:Annie <${ANN}>`);
      await terminal.run("git config user.email annie@project.example && git commit -q --allow-empty -m test && git log -1 --format='by:%an <%ae>'", "by:Annie <annie@project.example>");
      assert.match(await inPod(hash, "cat", "/home/opencode/.config/opencode/agents/house.md"), /mine$/);
    });
  } finally {
    await world?.end();
  }
});
