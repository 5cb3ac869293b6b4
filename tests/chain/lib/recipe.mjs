// Starts a recipe of deploy/recipes on loopback: its files, with addresses for the names of a cluster.

import { execFileSync } from "node:child_process";
import { randomBytes } from "node:crypto";
import { chmodSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { parse, parseAllDocuments, stringify } from "yaml";
import { install } from "../../../scripts/install-opencode.mjs";
import { eventually } from "../../journey/fixtures/gate.mjs";
import { get, startRouter } from "../../journey/fixtures/router.mjs";
import { CLIENT, startOidcProvider } from "../oidc-provider.mjs";
import { freePorts, program, startProgram, startRelay } from "./programs.mjs";

const PROJECT = fileURLToPath(new URL("../../../", import.meta.url));
/**
 * The names in place of opencode.example.com: of the site, and of the domain that sessions and cookies have.
 * Chromium resolves every name under `localhost` itself, and treats it as it treats HTTPS.
 */
const OWN = { site: "opencode.localhost", domain: "opencode.localhost", suffix: "" };
/** The same where other applications share the domain (ROUTE_SUFFIX). */
const SHARED = { site: "opencode.example.localhost", domain: "example.localhost", suffix: "-oc" };
/** Her tokens are so large that oauth2-proxy splits its cookie. */
export const ALICE = "alice@example.test";
export const BOB = "bob@example.test";
export const PROXY_SECRET = "the-proxy-secret-of-these-tests";

const read = (path) => readFileSync(join(PROJECT, "deploy/recipes", path), "utf8");

const escaped = (name) => name.replaceAll(".", "\\.");

/** Replaces each text, which must occur. */
function replaced(text, replacements) {
  let result = text;
  for (const [from, to] of replacements) {
    if (!result.includes(from)) throw new Error(`the recipe no longer contains ${from}, which the test replaces`);
    result = result.replaceAll(from, to);
  }
  return result;
}

/**
 * Starts provider, oauth2-proxy, the recipe's proxy, and a router whose sessions' opencode is recorded. `edit`
 * changes each of the recipe's files; `shared` makes the changes that docs/sign-in.md names for ROUTE_SUFFIX.
 */
export async function startRecipe(kind, { edit = (text) => text, shared = false } = {}) {
  const names = shared ? SHARED : OWN;
  const folder = mkdtempSync(join(tmpdir(), "opencode-router-recipe-"));
  const cleanups = [() => rmSync(folder, { recursive: true, force: true, maxRetries: 5, retryDelay: 100 })];
  const end = async () => {
    for (const cleanup of cleanups.splice(0).reverse()) await cleanup();
  };
  try {
    const [port, behindPort, signInPort] = await freePorts(3);
    const site = `http://${names.site}:${port}`;
    const provider = await startOidcProvider({ redirectUris: [`${site}/oauth2/callback`], names: { [ALICE]: randomBytes(2000).toString("hex") } });
    cleanups.push(() => provider.close());

    const record = join(folder, "received");
    writeFileSync(record, "");
    const opencode = process.env.OPENCODE_BIN || (await install(join(PROJECT, ".opencode")));
    const wrapper = join(folder, "opencode");
    const recorder = fileURLToPath(new URL("recording-opencode.mjs", import.meta.url));
    writeFileSync(wrapper, `#!/bin/sh\nexec '${process.execPath}' '${recorder}' '${record}' '${opencode}' "$@"\n`);
    chmodSync(wrapper, 0o755);
    const router = await startRouter(folder, {
      IDENTITY: "headers",
      TRUSTED_PROXY_SECRET: PROXY_SECRET,
      ROUTER_DOMAIN: `${names.domain}:${port}`,
      ROUTE_SUFFIX: names.suffix,
      ROUTER_PROTO: "http",
      PORT: String(behindPort),
      OPENCODE_BIN: wrapper,
    });
    cleanups.push(() => router.stop());

    const relay = await startRelay(behindPort);
    cleanups.push(() => relay.close());
    const routerPort = relay.port;

    const place = { names, port, routerPort, signInPort };
    const signIn = await startOauth2Proxy(folder, kind, provider, place, edit);
    cleanups.push(() => signIn.stop());
    const proxy = await { "oauth2-proxy": startIngress, nginx: startNginx, traefik: startTraefik }[kind](folder, place, edit);
    cleanups.push(() => proxy.stop());
    return { kind, site, suffix: names.suffix, domain: `${names.domain}:${port}`, signInPort, folder, provider, router, signIn, proxy, received: () => readFileSync(record, "latin1"), forwarded: relay.received, end };
  } catch (error) {
    await end();
    throw error;
  }
}

async function startOauth2Proxy(folder, kind, provider, { names, port, routerPort, signInPort }, edit) {
  const secrets = join(folder, "secrets");
  mkdirSync(secrets);
  writeFileSync(join(secrets, "TRUSTED_PROXY_SECRET"), PROXY_SECRET);
  const core = replaced(read("oauth2-proxy/oauth2-proxy.cfg"), [
    ["https://opencode.example.com/", `http://${names.site}:${port}/`],
    ['[".opencode.example.com", "github.com"]', `[".${names.domain}:${port}", "${new URL(provider.issuer).host}"]`],
    [".opencode.example.com", `.${names.domain}`],
    ["cookie_secure = true", "cookie_secure = false"],
    ['"example.com"', '"example.test"'],
  ]);
  writeFileSync(join(folder, "oauth2-proxy.cfg"), core);
  const isProxy = kind === "oauth2-proxy";
  const text = replaced(edit(read(isProxy ? "oauth2-proxy/as-proxy.yaml" : "oauth2-proxy/as-check.yaml")), [
    ["0.0.0.0:4180", `127.0.0.1:${signInPort}`],
    ...(isProxy ? [["http://opencode-router.opencode.svc.cluster.local", `http://127.0.0.1:${routerPort}`], ["/secrets/", `${secrets}/`]] : []),
  ]);
  const alpha = parse(text);
  // GitHub is not here.
  alpha.providers = [{ id: "oidc", provider: "oidc", clientID: CLIENT.id, clientSecret: CLIENT.secret, code_challenge_method: "S256", oidcConfig: { issuerURL: provider.issuer, emailClaim: "email", audienceClaims: ["aud"], userIDClaim: "email" } }];
  writeFileSync(join(folder, "alpha.yaml"), stringify(alpha));
  const args = [`--config=${join(folder, "oauth2-proxy.cfg")}`, `--alpha-config=${join(folder, "alpha.yaml")}`];
  return startProgram(folder, program("OAUTH2_PROXY_BIN"), args, { port: signInPort, env: { OAUTH2_PROXY_COOKIE_SECRET: "0123456789abcdef0123456789abcdef" } });
}

/** What stands for an ingress controller: nginx with the few settings that the recipe asks of one. */
async function startIngress(folder, { port, signInPort }) {
  const head = read("nginx/nginx.conf").split("    upstream router")[0];
  const configuration = `${replaced(head, [["/tmp/nginx", `${folder}/nginx`]])}
    map $http_upgrade $connection_upgrade { default upgrade; "" ""; }
    large_client_header_buffers 8 32k;
    proxy_buffer_size 32k;
    proxy_buffers 8 32k;
    server {
        listen 127.0.0.1:${port};
        client_max_body_size 0;
        location / {
            proxy_pass http://127.0.0.1:${signInPort};
            proxy_http_version 1.1;
            proxy_buffering off;
            proxy_request_buffering off;
            proxy_set_header Host $http_host;
            proxy_set_header Upgrade $http_upgrade;
            proxy_set_header Connection $connection_upgrade;
            proxy_set_header X-Forwarded-Host $http_host;
            proxy_set_header X-Forwarded-Proto $scheme;
            proxy_set_header X-Forwarded-For $remote_addr;
        }
    }
}
`;
  return runNginx(folder, configuration, port);
}

async function startNginx(folder, { names, port, routerPort, signInPort }, edit) {
  writeFileSync(join(folder, "secrets/proxy-secret.conf"), `proxy_set_header X-Router-Proxy-Secret "${PROXY_SECRET}";\n`);
  writeFileSync(join(folder, "router.conf"), replaced(edit(read("nginx/router.conf")), [["/secrets/", `${folder}/secrets/`], ["Proto https", "Proto http"], ["https://", "http://"]]));
  const configuration = replaced(edit(read("nginx/nginx.conf")), [
    ["/tmp/nginx", `${folder}/nginx`],
    ["listen 8080", `listen 127.0.0.1:${port}`],
    ["opencode-router.opencode.svc.cluster.local:80", `127.0.0.1:${routerPort}`],
    ["oauth2-proxy.opencode.svc.cluster.local:80", `127.0.0.1:${signInPort}`],
    ["server_name *.opencode.example.com", `server_name ${names.suffix ? `~^[a-z0-9-]+${names.suffix}\\.${escaped(names.domain)}$` : `*.${names.domain}`}`],
    ["opencode.example.com", names.site],
    ["Proto https", "Proto http"],
  ]);
  return runNginx(folder, configuration, port);
}

function runNginx(folder, configuration, port) {
  const file = join(folder, "nginx.conf");
  writeFileSync(file, configuration);
  // As root, workers would run as `nobody`, which may not enter the folder.
  const user = process.getuid?.() === 0 ? "user root; " : "";
  const args = ["-c", file, "-p", folder, "-e", "stderr", "-g", `${user}daemon off; error_log stderr;`];
  execFileSync(program("NGINX_BIN"), [...args, "-t"], { stdio: "pipe" });
  return startProgram(folder, program("NGINX_BIN"), args, { port });
}

/** The recipe's Kubernetes objects, as Traefik's file provider writes the same routes and middlewares. */
async function startTraefik(folder, { names, port, routerPort, signInPort }, edit) {
  const text = replaced(edit(read("traefik/traefik.yaml")), [
    ["http://oauth2-proxy.opencode.svc.cluster.local/", `http://127.0.0.1:${signInPort}/`],
    ["^[a-z0-9-]+\\.opencode\\.example\\.com$", `^[a-z0-9-]+${names.suffix}\\.${escaped(names.domain)}$`],
    ["opencode.example.com", names.site],
    ["the text of TRUSTED_PROXY_SECRET", PROXY_SECRET],
  ]);
  const addresses = { "oauth2-proxy": signInPort, "opencode-router": routerPort };
  const http = { routers: {}, middlewares: {}, services: {} };
  for (const object of parseAllDocuments(text).map((document) => document.toJS())) {
    if (object.kind === "Middleware") http.middlewares[object.metadata.name] = object.spec;
    else if (object.kind === "IngressRoute") {
      for (const [index, route] of object.spec.routes.entries()) {
        const [service] = route.services;
        http.routers[`${object.metadata.name}-${index}`] = { rule: route.match, priority: route.priority, entryPoints: object.spec.entryPoints, service: service.name, middlewares: (route.middlewares ?? []).map(({ name }) => name) };
        http.services[service.name] = { loadBalancer: { servers: [{ url: `http://127.0.0.1:${addresses[service.name]}` }], responseForwarding: service.responseForwarding } };
      }
    } else throw new Error(`the recipe has an object of kind ${object.kind}, which this test does not translate`);
  }
  writeFileSync(join(folder, "dynamic.yaml"), stringify({ http }));
  const configuration = {
    entryPoints: { websecure: { address: `127.0.0.1:${port}`, transport: { respondingTimeouts: { readTimeout: "0s" } } } },
    providers: { file: { filename: join(folder, "dynamic.yaml"), watch: false } },
    log: { level: "WARN" },
    global: { checkNewVersion: false, sendAnonymousUsage: false },
  };
  writeFileSync(join(folder, "static.yaml"), stringify(configuration));
  const traefik = await startProgram(folder, program("TRAEFIK_BIN"), [`--configFile=${join(folder, "static.yaml")}`], { port });
  // It listens before it has read its routes.
  await eventually("Traefik has its routes", async () => (await get(port, `${names.site}:${port}`, "/")).status !== 404);
  return traefik;
}
