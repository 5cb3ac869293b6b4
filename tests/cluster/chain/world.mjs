// The whole chain's environment: Chromium, the edge, and beside the cluster an OIDC provider, repositories
// and a model; in the cluster DNS, Traefik, oauth2-proxy and the router.

import { randomBytes } from "node:crypto";
import { readFileSync, rmSync } from "node:fs";
import https from "node:https";
import { join } from "node:path";
import { HOST, clear, installRouter, kubectl, routersLog } from "../journey/cluster.mjs";
import { startBrowser } from "../../journey/fixtures/browser.mjs";
import { eventually } from "../../journey/fixtures/gate.mjs";
import { startGitServer } from "../../journey/fixtures/git-server.mjs";
import { startModel } from "../../journey/fixtures/model.mjs";
import { temporaryFolder } from "../../journey/fixtures/paths.mjs";
import { DOMAIN, TRAEFIK, startFixed, startStandIn } from "./cloudflare.mjs";
import { startEdge } from "./edge.mjs";
import { CLIENT, startOidcProvider } from "../../chain/oidc-provider.mjs";
import * as recipe from "./recipe.mjs";

const DNS = "10.96.0.10";
/** What Pods see as the address of a connection from the node. */
const NODE_IN_POD_NETWORK = "10.244.0.1";

/** Applies objects: a file of this folder in which `${NAME}` stands for a value. */
export async function apply(file, values = {}) {
  const text = readFileSync(new URL(file, import.meta.url), "utf8").replace(/\$\{(\w+)\}/g, (_, name) => {
    if (values[name] === undefined) throw new Error(`${file} needs a value for ${name}`);
    return values[name];
  });
  await applyText(text);
}
const applyText = (input) => kubectl(["--namespace", "", "apply", "--server-side", "--filename", "-"], { input });

const rolledOut = (namespace, deployment) => kubectl(["--namespace", namespace, "rollout", "status", `deployment/${deployment}`, "--timeout=60s"], { timeout: 70_000 });

/**
 * Starts all of it. With `routes` (`per-session`, `wildcard`), the operator publishes the sessions' hosts;
 * without, all hosts are published by hand: one record, one rule, and the recipe's route for all sessions.
 * `config` has variables of the router. `end()` ends it, and clears the cluster.
 */
export async function startWorld({ routes, config = {} } = {}) {
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
    const oidc = await startOidcProvider({ host: HOST, redirectUris: [`https://${DOMAIN}/oauth2/callback`] });
    endings.push(() => oidc.close());
    const secret = randomBytes(24).toString("hex");
    const world = { folder, git, model, oidc, secret, site: `https://${DOMAIN}`, endings, end };

    await apply("manifests/dns.yaml", { COREDNS_IMAGE: process.env.TEST_COREDNS_IMAGE });
    await kubectl(["apply", "--server-side", "--filename", process.env.TEST_TRAEFIK_CRDS]);
    await apply("manifests/traefik.yaml", { TRAEFIK_IMAGE: process.env.TEST_TRAEFIK_IMAGE, EDGE_ADDRESS: NODE_IN_POD_NETWORK });
    endings.push(clear, () => kubectl(["delete", "ingressroutes.traefik.io,middlewares.traefik.io,configmaps", "--all"]));
    await kubectl(["create", "secret", "generic", "opencode-api-keys", `--from-literal=OPENCODE_CONFIG_CONTENT=${model.configuration}`]);
    await kubectl(["create", "secret", "generic", "opencode-router", `--from-literal=TRUSTED_PROXY_SECRET=${secret}`]);
    await applyText(recipe.oauth2Proxy({ domain: DOMAIN, image: process.env.TEST_OAUTH2_PROXY_IMAGE, issuer: oidc.issuer, client: CLIENT, cookieSecret: randomBytes(16).toString("hex") }));
    await applyText(recipe.traefik({ domain: DOMAIN, secret, sessions: !routes }));
    world.cloudflare = await (routes ? startStandIn() : startFixed());
    endings.push(() => world.cloudflare.close());
    if (routes) await apply("manifests/operator.yaml", { CF_API_TOKEN: world.cloudflare.token });
    /** Installs router and operator, or changes them. */
    world.install = async (routes) => {
      const values = { config: { LOG_FORMAT: "text", ...config }, ...(routes && { operator: operator(world.cloudflare, routes) }) };
      world.router = await installRouter({ domain: DOMAIN, proto: "https", trustedProxies: [], values });
      if (routes) await rolledOut("opencode", "opencode-router-cloudflare");
    };
    await world.install(routes);
    await rolledOut("kube-system", "coredns");
    await rolledOut("traefik-system", "traefik");
    await rolledOut("opencode", "oauth2-proxy");

    world.edge = await startEdge({ load: world.cloudflare.load, tunnel: world.cloudflare.tunnel, domain: DOMAIN, dns: DNS, folder });
    endings.push(() => world.edge.close());
    // Chromium asks the edge for every name; whether a name exists is for the edge to say.
    const mapped = `127.0.0.1:${world.edge.port}`;
    world.browser = await startBrowser({ args: [`--host-resolver-rules=MAP ${DOMAIN} ${mapped}, MAP *.${DOMAIN} ${mapped}`], context: { ignoreHTTPSErrors: true } });
    endings.push(() => world.browser.close());
    world.ask = (host, path, options) => ask(world.edge, host, path, options);
    // Traefik learns of routes and endpoints a little later than the API server.
    await eventually("the site asks for a sign-in", async () => (await world.ask(DOMAIN, "/")).status === 302);
    return world;
  } catch (error) {
    console.error(await routersLog());
    await end().catch(() => {});
    throw error;
  }
}

/** The chart's values of the operator. */
function operator({ apiUrl, zoneId, tunnel }, routes) {
  const [, repository, tag] = /^(.*):([^:/]+)$/.exec(process.env.TEST_OPERATOR_IMAGE);
  return {
    enabled: true,
    image: { repository, tag },
    zoneId,
    tunnelId: tunnel,
    routes,
    traefikUrl: TRAEFIK,
    signin: { serviceName: "oauth2-proxy", serviceNamespace: "opencode" },
    config: { LOG_FORMAT: "text", CF_API_URL: apiUrl },
  };
}

/**
 * One request to `host` through the edge, over a connection of its own. The answer to a name that does not
 * exist is `{ resolves: false }`.
 */
export function ask(edge, host, path, { method = "GET", headers = {}, body, serverName = host, timeout = 15_000 } = {}) {
  return new Promise((done, failed) => {
    const more = method === "GET" ? {} : { origin: `https://${host}`, "content-type": "application/json" };
    const request = https.request(
      { host: edge.address, port: edge.port, servername: serverName, rejectUnauthorized: false, agent: false, method, path, headers: { host, ...more, ...headers }, timeout },
      async (response) => {
        try {
          let text = "";
          for await (const chunk of response) text += chunk;
          const json = /json/.test(response.headers["content-type"]) ? JSON.parse(text) : undefined;
          done({ resolves: true, status: response.statusCode, headers: response.headers, text, json });
        } catch (error) {
          failed(error);
        }
      },
    );
    request.once("timeout", () => request.destroy(new Error(`${method} https://${host}${path} was not answered within ${timeout / 1000} s`)));
    let secured = false;
    request.once("socket", (socket) => socket.once("secureConnect", () => (secured = true)));
    request.once("error", (error) => (secured || error.code === "ECONNREFUSED" ? failed(error) : done({ resolves: false })));
    request.end(body && JSON.stringify(body));
  });
}

/** A page of this person's, signed in by the provider's form: it shows the site. */
export async function signIn(world, email) {
  const page = await world.browser.page();
  await page.goto(`${world.site}/`);
  await page.getByRole("button", { name: email }).click();
  await page.waitForURL(`${world.site}/`);
  return page;
}

/** The headers that the person's browser would send to the host: its cookies. */
export async function cookiesOf(page, host = DOMAIN) {
  const cookies = await page.context().cookies(`https://${host}/`);
  return { cookie: cookies.map(({ name, value }) => `${name}=${value}`).join("; ") };
}

/** Creates a session of this person's by the API; answers with its hash. */
export async function create(world, page, body) {
  const made = await world.ask(DOMAIN, "/api/sessions", { method: "POST", headers: await cookiesOf(page), body });
  if (made.status !== 201) throw new Error(`POST /api/sessions: ${made.status} ${made.text}`);
  return made.json.hash;
}

/** Waits until the session has this state; answers with it. */
export const reaches = (world, page, hash, state) =>
  eventually(`session ${hash} is ${state}`, async () => {
    const { json } = await world.ask(DOMAIN, `/api/sessions/${hash}`, { headers: await cookiesOf(page) });
    if (json.state === "failed") throw new Error(JSON.stringify(json.reason));
    return json.state === state && json;
  }, 60_000);
