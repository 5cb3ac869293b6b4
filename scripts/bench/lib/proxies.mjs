// The proxies that are compared. All of them keep connections open on both sides, add X-Forwarded-For, write
// no access log, use two cores if they can, and limit neither bodies nor streams.
import { mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { fileURLToPath } from "node:url";
import { root } from "./cargo.mjs";
import { descriptorLimit, findProgram, freePort, scratchFolder, start, until } from "./processes.mjs";
import { createSession, request, routerAnswers, routerSettings } from "./router.mjs";
import { tree } from "./usage.mjs";

const here = fileURLToPath(new URL("..", import.meta.url));
const CORES = 2;
const IDENTITY = ["X-Auth-Request-Email: me@example.com"];

const haproxy = ({ port, upstream, folder }) => {
  writeFileSync(
    join(folder, "haproxy.cfg"),
    `global
  maxconn ${Math.min(25_000, Math.floor(descriptorLimit() / 2) - 50)}
  nbthread ${CORES}
defaults
  mode http
  timeout connect 5s
  timeout client 1h
  timeout server 1h
  timeout tunnel 1h
  option http-keep-alive
  http-reuse always
frontend in
  bind 127.0.0.1:${port} backlog 4096
  option forwardfor
  use_backend events if { path_beg /event }
  default_backend out
backend out
  server one 127.0.0.1:${upstream}
backend events
  # Without it an event waits for the next one, or 200 ms.
  option http-no-delay
  server one 127.0.0.1:${upstream}
`,
  );
  return [findProgram("haproxy"), "-f", join(folder, "haproxy.cfg")];
};

const nginx = ({ port, upstream, folder }) => {
  const common = `proxy_pass http://out; proxy_http_version 1.1; proxy_set_header Host $host;
      proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for; proxy_request_buffering off; proxy_read_timeout 1h;`;
  writeFileSync(
    join(folder, "nginx.conf"),
    `daemon off; worker_processes ${CORES}; pid ${folder}/nginx.pid; error_log stderr crit;
events { worker_connections 25000; }
http { access_log off; keepalive_requests 100000000; keepalive_timeout 300s; client_max_body_size 0;
  client_body_temp_path ${folder}; proxy_temp_path ${folder}; fastcgi_temp_path ${folder};
  uwsgi_temp_path ${folder}; scgi_temp_path ${folder}; proxy_max_temp_file_size 0;
  upstream out { server 127.0.0.1:${upstream}; keepalive 300; keepalive_requests 100000000; }
  map $http_upgrade $connection_header { default upgrade; "" ""; }
  server { listen 127.0.0.1:${port} backlog=4096;
    location / { ${common} proxy_set_header Connection ""; }
    location /event { ${common} proxy_set_header Connection ""; proxy_buffering off; }
    location /ws { ${common} proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection $connection_header; } } }`,
  );
  return [findProgram("nginx", "nginx-light"), "-c", join(folder, "nginx.conf")];
};

const envoy = ({ port, upstream, folder }) => {
  const address = (number) => ({ socket_address: { address: "127.0.0.1", port_value: number } });
  const manager = {
    "@type":
      "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
    stat_prefix: "in",
    codec_type: "HTTP1",
    use_remote_address: true,
    stream_idle_timeout: "0s",
    upgrade_configs: [{ upgrade_type: "websocket" }],
    route_config: {
      virtual_hosts: [
        {
          name: "all",
          domains: ["*"],
          routes: [{ match: { prefix: "/" }, route: { cluster: "out", timeout: "0s" } }],
        },
      ],
    },
    http_filters: [
      {
        name: "router",
        typed_config: { "@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router" },
      },
    ],
  };
  const unlimited = { max_connections: 100_000, max_pending_requests: 100_000, max_requests: 100_000 };
  writeFileSync(
    join(folder, "envoy.json"),
    JSON.stringify({
      static_resources: {
        listeners: [
          { address: address(port), filter_chains: [{ filters: [{ name: "http", typed_config: manager }] }] },
        ],
        clusters: [
          {
            name: "out",
            type: "STATIC",
            circuit_breakers: { thresholds: [unlimited] },
            load_assignment: {
              cluster_name: "out",
              endpoints: [{ lb_endpoints: [{ endpoint: { address: address(upstream) } }] }],
            },
          },
        ],
      },
    }),
  );
  const program = join(root, ".tools/bench-proxies/envoy/_bin/envoy");
  return [
    program,
    "-c",
    join(folder, "envoy.json"),
    "--concurrency",
    String(CORES),
    "--log-level",
    "error",
    "--disable-hot-restart",
  ];
};

const traefik = ({ port, upstream, folder }) => {
  writeFileSync(
    join(folder, "routes.yaml"),
    `http:
  routers: { all: { rule: "PathPrefix(\`/\`)", service: out } }
  services: { out: { loadBalancer: { serversTransport: out, servers: [{ url: "http://127.0.0.1:${upstream}" }] } } }
  serversTransports: { out: { maxIdleConnsPerHost: 300 } }
`,
  );
  writeFileSync(
    join(folder, "traefik.yaml"),
    `global: { checkNewVersion: false, sendAnonymousUsage: false }
log: { level: ERROR }
entryPoints: { in: { address: "127.0.0.1:${port}", transport: { respondingTimeouts: { readTimeout: 0s } } } }
providers: { file: { filename: ${join(folder, "routes.yaml")} } }
`,
  );
  return [join(root, ".tools/bench-proxies/bin/traefik"), `--configFile=${join(folder, "traefik.yaml")}`];
};

const httpProxy = ({ port, upstream }) => [
  process.execPath,
  join(here, "http-proxy.mjs"),
  String(port),
  String(upstream),
];

const configurableHttpProxy = async ({ port, upstream }) => {
  const options = {
    ip: "127.0.0.1",
    port,
    "api-ip": "127.0.0.1",
    "api-port": await freePort(),
    "default-target": `http://127.0.0.1:${upstream}`,
    "log-level": "error",
  };
  const words = Object.entries(options).flatMap(([name, value]) => [`--${name}`, String(value)]);
  return [
    process.execPath,
    join(here, "node_modules/configurable-http-proxy/bin/configurable-http-proxy"),
    ...words,
  ];
};

const example =
  (...more) =>
  ({ port, upstream, programs }) => [programs.example, `127.0.0.1:${port}`, `127.0.0.1:${upstream}`, ...more];

/** The commands that start proxies, by name; `direct` and `router` are not started like that. */
const COMMANDS = {
  haproxy,
  nginx,
  envoy,
  traefik,
  "http-proxy": httpProxy,
  "configurable-http-proxy": configurableHttpProxy,
  forward: example("forward"),
  whole: example("whole"),
  "whole-shared": example("whole", "0"),
};
export const NAMES = ["direct", ...Object.keys(COMMANDS), "router"];

/** What the tables call them. */
const TITLES = {
  direct: "no proxy",
  "http-proxy": "http-proxy (npm)",
  forward: "proxy-core, `serve` and `Forward`",
  whole: "proxy-core, all layers",
  "whole-shared": "the same, one runtime for all cores",
  router: "the router",
};

export const title = (name) => TITLES[name] ?? name;

/** Starts an upstream, `nginx` or `streams`; returns its port. */
export async function startUpstream(kind) {
  const port = await freePort();
  const env = kind === "nginx" ? { BENCH_NGINX: findProgram("nginx", "nginx-light") } : {};
  const child = start(process.execPath, [join(here, "fake-opencode.mjs"), "--port", String(port)], env);
  await until("the upstream", child, async () => (await request(port, "/")).status === 200);
  return port;
}

let started = 0;

/**
 * Starts a proxy in front of `upstream` (a port; the router starts its own, of the same kind). Returns its
 * port, the host and headers to send, and `pids()`, the processes that count as the proxy.
 */
export async function startProxy(name, { kind, upstream, programs }) {
  if (name === "direct")
    return { name, port: upstream, host: "localhost", headers: IDENTITY, pids: () => [] };
  const folder = join(scratchFolder(), `${name}-${++started}`);
  mkdirSync(folder, { recursive: true });
  if (name === "router") {
    const nginx = kind === "nginx" ? { BENCH_NGINX: findProgram("nginx", "nginx-light") } : {};
    const { port, env } = await routerSettings(`${name}-${started}`, nginx);
    const child = start(programs.router, [], env);
    await until(name, child, () => routerAnswers(port));
    return { name, port, host: await createSession(port), headers: IDENTITY, pids: () => [child.pid], child };
  }
  const port = await freePort();
  const [command, ...args] = await COMMANDS[name]({ port, upstream, folder, programs });
  const child = start(command, args);
  const host = "a48da0606867.localhost:8000";
  const identity = { host, headers: { "x-auth-request-email": "me@example.com" } };
  await until(name, child, async () => (await request(port, "/", identity)).status === 200);
  return { name, port, host, headers: IDENTITY, pids: () => tree(child.pid), child };
}
