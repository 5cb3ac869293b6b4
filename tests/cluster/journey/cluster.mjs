// The cluster that KUBECONFIG names, by kubectl; and the project's router in it.

import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, mkdtempSync, readFileSync, rmSync, symlinkSync } from "node:fs";
import http from "node:http";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { eventually } from "../../journey/fixtures/gate.mjs";

export const NAMESPACE = "opencode";
const RELEASE = "opencode-router";
/** Where Pods find what a test started on this machine. */
export const HOST = process.env.TEST_HOST_ADDRESS ?? "10.77.0.1";
/** The images of the router and of sessions, which the cluster's nodes have; and further ones, if it has them. */
export const IMAGES = {
  router: process.env.TEST_ROUTER_IMAGE,
  session: process.env.TEST_SESSION_IMAGE,
  original: process.env.TEST_ORIGINAL_IMAGE,
  chromium: process.env.TEST_CHROMIUM_IMAGE,
};

const run = promisify(execFile);
const HERE = fileURLToPath(new URL("..", import.meta.url));
const STATE = dirname(process.env.KUBECONFIG ?? "");

/** What kubectl printed; `input` is what it reads. */
export async function kubectl(args, { input, timeout = 60_000 } = {}) {
  const child = run("kubectl", ["--namespace", NAMESPACE, ...args], { timeout, maxBuffer: 64 << 20 });
  child.child.stdin.end(input);
  return (await child).stdout;
}

/** What `kubectl opencode` printed: opencode-routerctl as kubectl's plugin, which asks the cluster and no router. */
export async function kubectlOpencode(...args) {
  const folder = mkdtempSync(join(tmpdir(), "kubectl-"));
  try {
    symlinkSync(process.env.ROUTERCTL_BIN, join(folder, "kubectl-opencode"));
    const env = { ...process.env, PATH: `${folder}:${process.env.PATH}` };
    return (await run("kubectl", ["opencode", ...args, "--namespace", NAMESPACE], { timeout: 90_000, env })).stdout.trim();
  } finally {
    rmSync(folder, { recursive: true });
  }
}

/** What helm printed; `input` is what it reads. */
async function helm(args, input = "") {
  const child = run("helm", ["--namespace", NAMESPACE, ...args], { timeout: 60_000 });
  child.child.stdin.end(input);
  return (await child).stdout;
}

/** The objects of these kinds (`pods,pvc`), with what selects them. */
export async function objects(kinds, ...selection) {
  return JSON.parse(await kubectl(["get", kinds, "--output", "json", ...selection])).items;
}

/** The names of whatever is there of a session. */
export async function tracesOf(hash) {
  const all = await objects("pods,persistentvolumeclaims,secrets");
  return all.filter(({ metadata }) => metadata.name.endsWith(hash)).map(({ kind, metadata }) => `${kind} ${metadata.name}`).sort();
}

/** The Pods of the router. */
export const routers = () => objects("pods", "--selector=app.kubernetes.io/name=opencode-router", "--field-selector=status.phase=Running");

/** A session's Pod, or undefined. */
export const podOf = async (hash) => (await objects("pods", `--selector=opencode.ai/session-hash=${hash}`))[0];

/** What a command printed in a session's Pod. */
export const inPod = async (hash, ...command) => (await kubectl(["exec", `opencode-session-${hash}`, "--container", "opencode", "--", ...command])).trim();

/**
 * Installs the router, or changes how it is installed, and waits until it is ready; answers with its Service's
 * address. `values` are further values of the chart.
 */
export async function installRouter({ domain, proto = "http", trustedProxies = [`${HOST}/32`, `${process.env.TEST_PORT_FORWARD ? "127.0.0.1" : "10.244.0.1"}/32`], userNamespaces = false, replicas = 1, sessionImage = IMAGES.session, sessionLimits, values: more = {} }) {
  const [, repository, tag] = /^(.*):([^:/]+)$/.exec(IMAGES.router);
  const values = {
    image: { repository, tag },
    replicas,
    domain,
    proto,
    trustedProxies,
    session: { image: sessionImage, userNamespaces },
    config: { LOG_FORMAT: "text", ADMIN_EMAILS: "root@example.com", ...(sessionLimits && { SESSION_LIMITS: sessionLimits, SESSION_REQUESTS: "cpu=10m,memory=16Mi" }) },
    ...more,
  };
  await helm(["upgrade", "--install", RELEASE, join(HERE, "../../deploy/chart"), "--values", "-"], JSON.stringify(values));
  await kubectl(["rollout", "status", "deployment/opencode-router", "--timeout=60s"], { timeout: 70_000 });
  // An earlier router acts with its own settings until it is gone.
  await eventually("no other router is left", async () => (await routers()).length === replicas, 60_000);
  const [service] = await objects("services", "--field-selector=metadata.name=opencode-router");
  const at = process.env.TEST_PORT_FORWARD ? await forwarded() : { host: service.spec.clusterIP, port: service.spec.ports[0].port };
  // The node learns of the Service's endpoints a little later than the API server.
  await eventually("the router's Service answers", () => request(at, domain, "GET", "/", { timeout: 1000 }), 60_000);
  return at;
}

/** One request to `host` and `port` under the name `name`; answers with status, text and, where it is any, JSON. */
export function request({ host, port }, name, method, path, { headers = {}, body, timeout = 15_000 } = {}) {
  return new Promise((done, failed) => {
    const all = { host: name, ...(method !== "GET" && { origin: `http://${name}`, "content-type": "application/json" }), ...headers };
    const asked = http.request({ host, port, method, path, headers: all, agent: false, timeout }, async (response) => {
      try {
        let text = "";
        for await (const chunk of response) text += chunk;
        done({ status: response.statusCode, text, json: /json/.test(response.headers["content-type"]) ? JSON.parse(text) : undefined });
      } catch (error) {
        failed(error);
      }
    });
    asked.once("timeout", () => asked.destroy(new Error(`${method} ${path} was not answered within ${timeout / 1000} s`)));
    asked.once("error", failed);
    asked.end(body && JSON.stringify(body));
  });
}

let forward;
/** Where Services can't be reached from here: a port of loopback that kubectl forwards to a Pod of the router. */
async function forwarded() {
  stopForwarding();
  forward = spawn("kubectl", ["--namespace", NAMESPACE, "port-forward", "service/opencode-router", ":80"], { stdio: ["ignore", "pipe", "inherit"] });
  const [line] = await once(forward.stdout, "data");
  return { host: "127.0.0.1", port: Number(String(line).match(/127\.0\.0\.1:(\d+)/)[1]) };
}
function stopForwarding() {
  forward?.kill();
  forward = undefined;
}

/** Removes the router and every session. */
export async function clear() {
  stopForwarding();
  // The router first: it still needs its Role while it ends.
  await kubectl(["delete", "deployment,pods,persistentvolumeclaims", "--all", "--wait", "--timeout=60s"], { timeout: 70_000 });
  await helm(["uninstall", RELEASE, "--ignore-not-found"]);
  await kubectl(["delete", "service,secrets", "--all"]);
  await kubectl(["delete", "configmap", "opencode-config-dir", "--ignore-not-found"]);
  await eventually("nothing is left", async () => (await objects("pods,persistentvolumeclaims")).length === 0);
}

/** Whether this is the project's own cluster, whose parts and logs are at hand. */
export const isOurs = existsSync(join(STATE, "control"));

/** Ends a part of our own cluster and keeps it away (`stop`), or lets it come back (`start`). */
export const part = (verb, name) => run(join(HERE, "part"), [verb, process.env.KUBECONFIG, name], { timeout: 30_000 });

/**
 * What the router, or who else has the service `account`, asked of the API server since the moment `from`:
 * `{ verb, resource, code, at }`. Our own cluster only.
 */
export function calls(from = 0, account = RELEASE) {
  const seen = new Map();
  for (const line of readFileSync(join(STATE, "log", "audit.log"), "utf8").split("\n").filter(Boolean)) {
    const { auditID, verb, objectRef: it, responseStatus, requestReceivedTimestamp, user } = JSON.parse(line);
    const at = Date.parse(requestReceivedTimestamp);
    if (!user.username.endsWith(`:${account}`) || at < from) continue;
    // A watch is logged when it begins and when it ends.
    if (!seen.has(auditID)) seen.set(auditID, { verb, resource: [it?.resource, it?.subresource].filter(Boolean).join("/"), code: responseStatus?.code, at });
  }
  return [...seen.values()];
}

/** The routers' logs. */
export const routersLog = () => kubectl(["logs", "--selector=app.kubernetes.io/name=opencode-router", "--tail=-1"]).catch((error) => String(error));
