// Cloudflare's API for the chain: the operator's stand-in as a process, or fixed documents.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { HOST } from "../journey/cluster.mjs";

/** The domain of the site and of the sessions, in the zone `example.test`. */
export const DOMAIN = "opencode.example.test";
const ZONE = "example.test";
const TUNNEL = "6ff42ae2-765d-4adf-8112-31c55c1551ef";
/** The service of the tunnel's rules. */
export const TRAEFIK = "http://traefik-controller.traefik-system.svc.cluster.local:80";

const toTunnel = (name) => ({ type: "CNAME", name, content: `${TUNNEL}.cfargotunnel.com`, proxied: true });

/** What the account has before the operator comes, and what must stay as it is. */
const RECORDS = [
  { ...toTunnel(DOMAIN), comment: "made by hand" },
  { type: "A", name: `blog.${ZONE}`, content: "192.0.2.7", proxied: true },
  // Twelve hexadecimal digits, but not ours.
  { ...toTunnel(`0123456789ab.${DOMAIN}`), comment: "somebody else's" },
  { type: "TXT", name: ZONE, content: "v=spf1 -all", proxied: false },
];
const CONFIG = {
  ingress: [
    { hostname: DOMAIN, service: TRAEFIK, originRequest: { connectTimeout: 10 } },
    { hostname: `blog.${ZONE}`, path: "^/feed", service: "http://192.0.2.7:8080" },
    { service: "http_status:404" },
  ],
  originRequest: { keepAliveTimeout: 60 },
  "warp-routing": { enabled: true },
};

/** Starts the stand-in for Cloudflare's API, with foreign records and rules in it. */
export async function startStandIn() {
  const seed = { zone_name: ZONE, tunnel_id: TUNNEL, token: "token-of-the-chain", records: RECORDS, config: CONFIG };
  const child = spawn(process.env.CLOUDFLARE_STAND_IN_BIN, ["--listen", `${HOST}:0`, "--seed", JSON.stringify(seed)], { stdio: ["ignore", "pipe", "inherit"] });
  const ended = once(child, "exit").then(([code]) => Promise.reject(new Error(`the stand-in for Cloudflare's API ended with ${code}`)));
  ended.catch(() => {});
  const [line] = await Promise.race([once(createInterface({ input: child.stdout }), "line"), ended]);
  const { api_url: apiUrl, control_url: control, token, zone_id: zoneId } = JSON.parse(line);
  const steer = async (method, path = "", body) => {
    const response = await fetch(`${control}${path}`, { method, body: body && JSON.stringify(body), signal: AbortSignal.timeout(5000) });
    if (!response.ok) throw new Error(`${method} ${path}: ${response.status} ${await response.text()}`);
    return response.json();
  };
  const state = () => steer("GET");
  return {
    tunnel: TUNNEL,
    apiUrl,
    token,
    zoneId,
    /** Records, the tunnel's document, and the calls by kind. */
    state,
    /** What the edge serves. It is told of changes, and makes no calls to the API. */
    load: async () => {
      const { records, config } = await state();
      return { records, ingress: config?.ingress ?? [] };
    },
    addFault: (fault) => steer("POST", "/faults", fault),
    clearFaults: () => steer("DELETE", "/faults"),
    /** Publishes a host, as an administrator does by hand. */
    async publish(name) {
      await steer("POST", "/records", { ...toTunnel(name), comment: "made by hand" });
      const { config } = await state();
      await steer("PUT", "/tunnel", { ...config, ingress: [{ hostname: name, service: TRAEFIK }, ...config.ingress] });
    },
    async close() {
      child.kill("SIGKILL");
      if (child.exitCode === null && child.signalCode === null) await once(child, "exit");
    },
  };
}

/** Fixed documents, without an API and an operator: one record and one rule for all hosts. */
export function startFixed() {
  const documents = {
    records: [toTunnel(DOMAIN), toTunnel(`*.${DOMAIN}`)],
    ingress: [{ hostname: DOMAIN, service: TRAEFIK }, { hostname: `*.${DOMAIN}`, service: TRAEFIK }, { service: "http_status:404" }],
  };
  return { tunnel: TUNNEL, load: async () => documents, close: () => {} };
}
