// Dev servers on a real node: one that listens on the Pod's loopback only is found and reached through the
// session's agent, by its owner and by nobody else, and every replica shows the same.

import assert from "node:assert/strict";
import { test } from "node:test";
import { eventually } from "../../journey/fixtures/gate.mjs";
import { get } from "../../journey/fixtures/router.mjs";
import * as site from "../../journey/fixtures/site.mjs";
import { inPod, kubectl, podOf, routersLog } from "./cluster.mjs";
import { as, startWorld, stepper } from "./world.mjs";

const ANN = "ann@example.com";
const BOB = "bob@example.com";
const PORT = 5173;
const SERVER = `require("http").createServer((q, r) => {
  if (q.url === "/old") return r.writeHead(302, { location: "http://localhost:${PORT}/new" }).end();
  r.end([q.headers.host, q.headers.origin].join(" "));
}).listen(${PORT}, "127.0.0.1")`;

test("a dev server on a Pod's loopback", { timeout: 300_000 }, async (t) => {
  let world;
  let hash;
  let host;
  const step = stepper(t, async () => {
    console.error((await routersLog()).slice(-3000));
    console.error(await kubectl(["logs", `opencode-session-${hash}`, "--container", "opencode", "--tail", "30"]).catch(String));
  });
  try {
    await step("The session knows its public names, and nothing listens", async () => {
      world = await startWorld({ replicas: 2 });
      world.git.make("widgets");
      hash = await world.create(ANN, { repoUrl: world.git.url("widgets"), branch: "main" });
      const session = await world.runs(hash, ANN);
      assert.equal(session.ports, undefined);
      host = `${PORT}-${hash}.${world.domain}`;
      const template = await inPod(hash, "sh", "-c", "echo $OPENCODE_PORT_URL_TEMPLATE");
      assert.equal(template.replace("{port}", PORT), `http://${host}`);
    });

    await step("A server that listens on loopback only is found, with its name, and reached", async () => {
      const script = `nohup node -e '${SERVER}' >/dev/null 2>&1 &`;
      await inPod(hash, "sh", "-c", script);
      const session = await eventually("the port is shown", async () => {
        const session = await site.getSession(world.front, hash, as(ANN));
        return session.ports && session;
      }, 30_000);
      assert.deepEqual(session.ports, [{ port: PORT, url: `http://${host}/`, process: "node" }]);
      const answer = await get(world.signIn.port, host, "/", { headers: { ...as(ANN).headers, origin: `http://${host}` } });
      assert.deepEqual([answer.status, answer.body], [200, `localhost:${PORT} http://localhost:${PORT}`]);
      const old = await get(world.signIn.port, host, "/old", as(ANN));
      assert.deepEqual([old.status, old.headers.location], [302, `http://${host}/new`]);
    });

    await step("Both replicas show and reach it", async () => {
      // Each request may be answered by either of them.
      for (let n = 0; n < 12; n++) {
        assert.equal((await site.getSession(world.front, hash, as(ANN))).ports?.length, 1);
        assert.equal((await get(world.signIn.port, host, "/", as(ANN))).status, 200);
      }
    });

    await step("Nobody else reaches it: no other user, no other process of the cluster, no port of the session itself", async () => {
      assert.equal((await get(world.signIn.port, host, "/", as(BOB))).status, 404);
      for (const port of [4094, 4096, 9222]) {
        assert.equal((await get(world.signIn.port, `${port}-${hash}.${world.domain}`, "/", as(ANN))).status, 404, `port ${port}`);
      }
      const address = (await podOf(hash)).status.podIP;
      const asked = await inPod(hash, "sh", "-c", `curl -s -o /dev/null -w '%{http_code}' http://${address}:4094/ports; curl -s -m 5 http://${address}:${PORT}/ || echo :unreachable`);
      assert.equal(asked, "401:unreachable");
    });

    await step("It is gone from the list once it has ended", async () => {
      await inPod(hash, "pkill", "-f", "createServer");
      await eventually("no port is shown", async () => !(await site.getSession(world.front, hash, as(ANN))).ports, 30_000);
    });
  } finally {
    await world?.end();
  }
});
