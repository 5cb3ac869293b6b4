// The journeys' environment: repositories, a model and a sign-in proxy beside the cluster, the router in it,
// Chromium.

import { rmSync } from "node:fs";
import http from "node:http";
import { join } from "node:path";
import { startBrowser } from "../../journey/fixtures/browser.mjs";
import { eventually } from "../../journey/fixtures/gate.mjs";
import { startGitServer } from "../../journey/fixtures/git-server.mjs";
import { startModel } from "../../journey/fixtures/model.mjs";
import { temporaryFolder } from "../../journey/fixtures/paths.mjs";
import { startSignIn } from "../../journey/fixtures/sign-in.mjs";
import * as site from "../../journey/fixtures/site.mjs";
import { HOST, clear, installRouter, kubectl, routersLog } from "./cluster.mjs";

export const cookie = (email) => `_oauth2_proxy=${encodeURIComponent(email)}`;
/** The options of a request by this person. */
export const as = (email) => ({ headers: { cookie: cookie(email) } });

/** Starts all of it; `settings` are those of `installRouter`. `end()` ends it, and clears the cluster. */
export async function startWorld(settings = {}) {
  const folder = temporaryFolder();
  const endings = [() => rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 })];
  const end = async () => {
    const troubles = [];
    for (const ending of endings.splice(0).reverse()) await Promise.resolve().then(ending).catch((error) => troubles.push(error));
    if (troubles.length) throw new AggregateError(troubles, "the world did not end cleanly");
  };
  try {
    const git = await startGitServer(join(folder, "repositories"), { address: HOST });
    endings.push(() => git.close());
    const model = await startModel({ address: HOST });
    endings.push(() => model.close());
    const signIn = await startSignIn();
    endings.push(() => signIn.close());
    const domain = `localhost:${signIn.port}`;
    endings.push(clear);
    // Configuration of every session, as an operator would provide it: here, the model.
    await kubectl(["create", "secret", "generic", "opencode-api-keys", `--from-literal=OPENCODE_CONFIG_CONTENT=${model.configuration}`]);
    const world = { git, model, signIn, domain, front: { url: `http://${domain}`, port: signIn.port }, end };
    /** Installs the router, or changes it. */
    world.install = async (more = {}) => {
      world.router = await installRouter({ domain, ...settings, ...more });
      signIn.forwardTo(world.router.port, world.router.host);
    };
    await world.install();
    world.browser = await startBrowser();
    endings.push(() => world.browser.close());
    /** A page of this person's, signed in to the site and to these hosts. */
    world.page = (email, ...hosts) =>
      world.browser.page({ cookies: [domain, ...hosts].map((host) => ({ name: "_oauth2_proxy", value: encodeURIComponent(email), url: `http://${host}` })) });
    /** Waits until the session runs; answers with it. */
    world.runs = (hash, email) =>
      eventually(`session ${hash} runs`, async () => {
        const it = await site.getSession(world.front, hash, as(email));
        if (it.state === "failed") throw new Error(JSON.stringify(it.reason));
        return it.state === "running" && it;
      }, 60_000);
    /** Waits until the session has failed; answers with the reason. */
    world.fails = (hash, email) =>
      eventually(`session ${hash} fails`, async () => {
        const it = await site.getSession(world.front, hash, as(email));
        return it.state === "failed" && it.reason;
      }, 120_000);
    /** Creates a session by the API; answers with its hash. */
    world.create = async (email, body) => {
      const made = await site.api(world.front, "POST", "/sessions", { ...as(email), body });
      if (made.status !== 201) throw new Error(`POST /api/sessions: ${made.status} ${made.body}`);
      return made.json.hash;
    };
    world.completes = (hash, email) => completes(world, hash, email);
    return world;
  } catch (error) {
    console.error(await routersLog());
    await end().catch(() => {});
    throw error;
  }
}

/** Follows the session's events; answers with the address that `complete` tells. */
function completes(world, hash, email) {
  return new Promise((done, failed) => {
    const request = http.get({ host: "127.0.0.1", port: world.signIn.port, path: `/api/sessions/${hash}/events`, headers: { host: world.domain, ...as(email).headers, accept: "text/event-stream" }, agent: false });
    request.once("error", failed);
    request.once("response", (response) => {
      let text = "";
      response.on("data", (chunk) => {
        text += chunk;
        const [, kind, data] = text.match(/^event: ?(complete|error)\n(?:\w+:.*\n)*?data: ?(.*)\n/m) ?? [];
        if (!kind) return;
        request.destroy();
        if (kind === "complete") done(JSON.parse(data).url);
        else failed(new Error(`${hash}: ${data}`));
      });
      response.once("end", () => failed(new Error(`the events of ${hash} ended: ${text}`)));
    });
  });
}

/** Runs steps of a story one after another; after one that failed, the rest is skipped and the logs are shown. */
export function stepper(t, onFailure) {
  let failed = false;
  return (name, run) =>
    t.test(name, { skip: failed && "an earlier step failed" }, async (t) => {
      try {
        await run(t);
      } catch (error) {
        failed = true;
        await onFailure(error).catch(() => {});
        throw error;
      }
    });
}
