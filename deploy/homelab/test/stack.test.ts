import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import * as path from "node:path";
import { test } from "node:test";

import { load, loadAll } from "js-yaml";

import committed from "../src/models.json";
import { NEW, ORIGINAL, ORIGINAL_APP } from "./original";
import { BASE_STACK, CONFIG, PROXY_SECRET, type Ran, run } from "./program";

const DEPLOYMENT = "apps/v1:Deployment/code-deployment";
const OPERATOR = "apps/v1:Deployment/code-cloudflare-operator";
const CHAIN = "traefik.io/v1alpha1:Middleware/code-oauth2-chain";
const CONFIG_MAP = "core/v1:ConfigMap/code-config";

/** Returns the inputs of a resource. */
function of(ran: Ran, key: string): any {
  const resource = ran.resources.get(key);
  assert.ok(resource, `${key} is not among ${[...ran.resources.keys()].join(", ")}`);
  return resource.inputs;
}

/** Returns the variables of a Deployment's first container. */
function variables(ran: Ran, key: string): Record<string, any> {
  const [container] = of(ran, key).spec.template.spec.containers;
  return Object.fromEntries(
    container.env.map((variable: any) => [variable.name, variable.value ?? variable.valueFrom]),
  );
}

const key = (name: string, secret: string) => ({ secretKeyRef: { name: secret, key: name } });

test("every resource of the original has its type, logical name, parent and object name", async () => {
  const ran = await run();
  const prefix = "urn:pulumi:dev::opencode::";
  const actual = new Map([...ran.resources.values()].map(({ urn, inputs }) => [urn, inputs.metadata?.name]));
  for (const [type, logical, object] of [...ORIGINAL, ...NEW]) {
    assert.equal(actual.get(`${prefix}${type}::${logical}`), object, `${type} ${logical}`);
  }
  for (const [type, logical, object] of ORIGINAL_APP) {
    assert.equal(
      actual.get(`${prefix}homelab:ExposedWebApp$${type}::${logical}`),
      object,
      `${type} ${logical}`,
    );
  }
  const record = ran.resources.get("cloudflare:index/record:Record/code-dns");
  assert.equal(record?.urn, `${prefix}homelab:ExposedWebApp$cloudflare:index/record:Record::code-dns`);
  const objects = [...ran.resources.values()].filter(({ type }) => type.startsWith("kubernetes:"));
  assert.equal(objects.length, ORIGINAL.length + ORIGINAL_APP.length + NEW.length);
});

test("no object is made twice", async () => {
  const { resources } = await run();
  const ids = [...resources.values()]
    .filter(({ type }) => type.startsWith("kubernetes:"))
    .map(({ inputs }) => `${inputs.kind} ${inputs.metadata.name}`);
  assert.deepEqual(ids.toSorted(), [...new Set(ids)].toSorted());
});

test("every object is in the namespace, and labelled", async () => {
  const { resources } = await run();
  for (const { name, inputs, type } of resources.values()) {
    if (!type.startsWith("kubernetes:")) continue;
    if (inputs.kind !== "Namespace") assert.equal(inputs.metadata.namespace, "code", name);
    // The component labels only its Deployment.
    if (![...ORIGINAL_APP.map(([, logical]) => logical)].includes(name)) {
      assert.equal(inputs.metadata.labels.app, "code", name);
    }
  }
});

test("the stack's outputs are the original's, and the lists of models", async () => {
  const { outputs } = await run();
  assert.deepEqual(outputs, {
    app: "code",
    url: "https://code.example.com",
    namespace: "code",
    models: committed,
  });
});

test("the namespace admits only restricted Pods", async () => {
  assert.deepEqual(of(await run(), "core/v1:Namespace/code-ns").metadata.labels, {
    app: "code",
    "pod-security.kubernetes.io/enforce": "restricted",
    "pod-security.kubernetes.io/enforce-version": "latest",
    "pod-security.kubernetes.io/warn": "restricted",
    "pod-security.kubernetes.io/warn-version": "latest",
  });
});

test("the base stack is the one that is named", async () => {
  const name = (ran: Ran) =>
    [...ran.resources.values()].filter(({ type }) => type.endsWith("StackReference")).map(({ name }) => name);
  const self = "mrsimpson/opencode/dev";
  assert.deepEqual(name(await run()).toSorted(), ["mrsimpson/homelab/dev", self]);
  assert.deepEqual(name(await run({ "code:homelabStack": "me/base/prod" })).toSorted(), [
    "me/base/prod",
    self,
  ]);
});

/** Runs the program in a process of its own, as Pulumi does, and returns what it says when it fails. */
function failure(config: object, base?: object): string {
  const arguments_ = [path.join(__dirname, "render.js"), JSON.stringify({ config, base })];
  const { status, stderr, stdout } = spawnSync(process.execPath, arguments_, { encoding: "utf8" });
  assert.notEqual(status, 0, stdout);
  return stderr;
}

for (const output of Object.keys(BASE_STACK)) {
  test(`a base stack without ${output} fails with its name`, () => {
    assert.match(failure({}, { ...BASE_STACK, [output]: undefined }), new RegExp(output));
  });
}

for (const required of [
  "code:routerImage",
  "code:cfOperatorImage",
  "code:opencodeImage",
  "code:adminSecret",
  "cloudflare:apiToken",
]) {
  test(`${required} is required`, async () => {
    await assert.rejects(run({ [required]: undefined }), new RegExp(required));
  });
}

for (const [config, expected] of [
  [{ "code:routes": "all" }, /per-session or wildcard/],
  [{ "code:replicas": "0" }, /whole number from 1/],
  [{ "code:replicas": "1.5" }, /whole number from 1/],
  [{ "code:sessionsEgress": '{"cidr":"10.0.0.0/8"}' }, /must be a list/],
  [{ "code:sessionsEgress": '[{"cidr":"flinker"}]' }, /must be a list/],
  [{ "code:sessionsEgress": '[{"cidr":"10.0.0.1/32","port":99999}]' }, /must be a list/],
] as [Record<string, string>, RegExp][]) {
  test(`${JSON.stringify(config)} is refused`, async () => {
    await assert.rejects(run(config), expected);
  });
}

for (const [config, expected] of [
  [{ "code:proxySecret": "short" }, /less than 16/],
  [{ "code:apiKeys": '{"A B":"x"}' }, /name of a variable/],
  [{ "code:apiKeys": '{"A":7}' }, /name of a variable/],
] as [Record<string, string>, RegExp][]) {
  test(`${Object.keys(config)} with ${Object.values(config)} is refused`, () => {
    assert.match(failure(config), expected);
  });
}

test("the router is configured as on a cluster, behind the sign-in", async () => {
  const expected = {
    BACKEND: "kubernetes",
    OPENCODE_NAMESPACE: "code",
    LISTEN_ADDRESS: "0.0.0.0",
    PORT: "3000",
    ATTACH_PORT: "4096",
    HEALTH_PORT: "8080",
    REPORT_PORT: "3002",
    OPENCODE_ROUTER_URL: "http://code-reports.code.svc:3002",
    POD_NAME: { fieldRef: { fieldPath: "metadata.name" } },
    ROUTER_DOMAIN: "example.com",
    SITE_HOST: "code.example.com",
    ROUTE_SUFFIX: "-oc",
    ATTACH_ROUTE_PREFIX: "attach-",
    IDENTITY: "headers",
    TRUSTED_PROXY_SECRET: key("TRUSTED_PROXY_SECRET", "code-proxy-secret"),
    ADMIN_SECRET: key("ADMIN_SECRET", "code-admin-secret"),
    AUTH_COOKIE_NAMES: "_oauth2_developers,_oauth2_users",
    OPENCODE_IMAGE: CONFIG["code:opencodeImage"],
    IMAGE_PULL_SECRET_NAME: "ghcr-pull-secret",
    API_KEY_SECRET_NAME: "opencode-api-keys",
    CONFIG_MAP_NAME: "opencode-config-dir",
    STORAGE_CLASS: "longhorn-uncritical",
    STORAGE_SIZE: "10Gi",
    LOG_FORMAT: "json",
  };
  assert.deepEqual(variables(await run(), DEPLOYMENT), expected);
  const more = {
    "code:chromiumImage": "chromium:1",
    "code:defaultGitRepo": "https://github.com/example/repo",
    "code:storageSize": "2Gi",
    "code:storageClass": "longhorn-persistent",
    "code:idleTimeoutMinutes": "45.5",
    "code:pullSecretStore": "none",
    "code:routerEnv": '{"MAX_SESSIONS_PER_USER":7,"LOG_LEVEL":"debug"}',
  };
  const { IMAGE_PULL_SECRET_NAME: _, ...rest } = expected;
  assert.deepEqual(variables(await run(more), DEPLOYMENT), {
    ...rest,
    CHROMIUM_IMAGE: "chromium:1",
    DEFAULT_GIT_REPO: "https://github.com/example/repo",
    STORAGE_SIZE: "2Gi",
    STORAGE_CLASS: "longhorn-persistent",
    IDLE_TIMEOUT_MINUTES: "45.5",
    MAX_SESSIONS_PER_USER: "7",
    LOG_LEVEL: "debug",
  });
});

test("the router's variables are documented ones", async () => {
  const page = readFileSync(root("docs/configuration.md"), "utf8");
  const names = Object.keys(
    variables(await run({ "code:chromiumImage": "x", "code:defaultGitRepo": "y" }), DEPLOYMENT),
  );
  assert.deepEqual(
    names.filter((name) => !page.includes(`\n| \`${name}\` |`)),
    [],
  );
});

test("two routers roll without a gap, probed on the health port, with a read-only root", async () => {
  const ran = await run();
  const { spec } = of(ran, DEPLOYMENT);
  assert.equal(spec.replicas, 2);
  assert.deepEqual(spec.selector, { matchLabels: { app: "code" } });
  assert.deepEqual(spec.strategy, {
    type: "RollingUpdate",
    rollingUpdate: { maxSurge: 1, maxUnavailable: 0 },
  });
  const pod = spec.template.spec;
  assert.equal(pod.serviceAccountName, "code");
  assert.deepEqual(pod.imagePullSecrets, [{ name: "ghcr-pull-secret" }]);
  assert.equal(pod.containers.length, 1);
  const [container] = pod.containers;
  assert.equal(container.image, CONFIG["code:routerImage"]);
  assert.deepEqual(container.readinessProbe.httpGet, { path: "/readyz", port: "health" });
  assert.deepEqual(container.livenessProbe.httpGet, { path: "/livez", port: "health" });
  assert.deepEqual(
    container.ports.map(({ name, containerPort }: any) => [name, containerPort]),
    [
      ["http", 3000],
      ["attach", 4096],
      ["health", 8080],
      ["reports", 3002],
    ],
  );
  assert.equal(container.securityContext.readOnlyRootFilesystem, true);
  const service = of(ran, "core/v1:Service/code-service").spec;
  assert.deepEqual(service.selector, { app: "code" });
  assert.deepEqual([service.ports[0].port, service.ports[0].targetPort], [80, 3000]);
  const budget = of(ran, "policy/v1:PodDisruptionBudget/code-pdb").spec;
  assert.deepEqual(budget, { maxUnavailable: 1, selector: { matchLabels: { app: "code" } } });
  assert.equal(of(await run({ "code:replicas": "3" }), DEPLOYMENT).spec.replicas, 3);
});

test("without a store for it, nobody names a pull secret", async () => {
  const ran = await run({ "code:pullSecretStore": "none" });
  assert.doesNotMatch(JSON.stringify([...ran.resources.values()]), /ghcr-pull-secret|GHCR/);
});

test("the attach Service leads to the router's attach port", async () => {
  const { selector, ports } = of(await run(), "core/v1:Service/code-attach").spec;
  assert.deepEqual([selector, ports], [{ app: "code" }, [{ name: "attach", port: 4096, targetPort: 4096 }]]);
});

test("the reports Service leads to the port that sessions reach", async () => {
  const { selector, ports } = of(await run(), "core/v1:Service/code-reports").spec;
  const expected = [{ name: "reports", port: 3002, targetPort: 3002 }];
  assert.deepEqual([selector, ports], [{ app: "code" }, expected]);
});

test("the site's record is the original's", async () => {
  assert.deepEqual(of(await run(), "cloudflare:index/record:Record/code-dns"), {
    zoneId: "zone-1",
    name: "code.example.com",
    type: "CNAME",
    content: "tunnel-1.cfargotunnel.com",
    proxied: true,
    comment: "Managed by Pulumi - code",
    allowOverwrite: true,
  });
});

test("the chain asks for the sign-in, and then adds the proxy secret", async () => {
  const ran = await run();
  assert.deepEqual(of(ran, CHAIN).spec.chain.middlewares, [
    { name: "code-oauth2-errors" },
    { name: "code-oauth2-forwardauth" },
    { name: "code-proxy-secret" },
  ]);
  // Traefik answers 404 while a Middleware of the chain does not exist.
  assert.ok(ran.resources.get(CHAIN)?.dependencies.includes("code-proxy-secret-middleware"));
  assert.deepEqual(of(ran, "traefik.io/v1alpha1:Middleware/code-proxy-secret-middleware").spec.headers, {
    customRequestHeaders: {
      "X-Router-Proxy-Secret": PROXY_SECRET,
      "X-Auth-Request-Token": "",
      "X-Forwarded-Access-Token": "",
    },
  });
  assert.deepEqual(of(ran, "core/v1:Secret/code-proxy-secret").stringData, {
    TRUSTED_PROXY_SECRET: PROXY_SECRET,
  });
  const auth = of(ran, "traefik.io/v1alpha1:Middleware/code-oauth2-forwardauth").spec.forwardAuth;
  assert.equal(auth.address, "http://oauth2-proxy-developers.oauth2-proxy.svc.cluster.local/oauth2/auth");
  for (const header of ["X-Auth-Request-Email", "X-Auth-Request-Access-Token"]) {
    assert.ok(auth.authResponseHeaders.includes(header), header);
  }
});

test("a proxy secret of one's own is used as it is, and none is generated", async () => {
  const own = "0123456789abcdef";
  const ran = await run({ "code:proxySecret": own });
  assert.deepEqual(of(ran, "core/v1:Secret/code-proxy-secret").stringData, { TRUSTED_PROXY_SECRET: own });
  assert.ok(![...ran.resources.keys()].some((key) => key.startsWith("random:")));
});

test("the site shows of oauth2-proxy only what a sign-in needs", async () => {
  const ran = await run();
  const [signin] = of(ran, "traefik.io/v1alpha1:IngressRoute/code-oauth2-signin-route").spec.routes;
  const [app] = of(ran, "traefik.io/v1alpha1:IngressRoute/code-oauth2-app-route").spec.routes;
  const [, host, pattern] = signin.match.match(/^(Host\(`code\.example\.com`\)) && PathRegexp\(`(.*)`\)$/);
  assert.equal(app.match, host);
  const shown = (path: string) => new RegExp(pattern).test(path);
  const yes = [
    "start",
    "sign_in",
    "sign_out",
    "static/css/bulma.min.css",
    "static/webfonts/fa-solid-900.woff2",
  ];
  const no = ["auth", "userinfo", "callback", "start/x", "", "x/../start", "static/", "static/x"];
  const hidden = [
    "static/%2e%2e/auth",
    "static/../auth",
    "static/css/../../auth",
    "static/css/..%2f..%2fauth",
  ];
  const paths = [...yes, ...no, ...hidden].map((path) => `/oauth2/${path}`);
  assert.deepEqual(
    paths.filter(shown),
    yes.map((path) => `/oauth2/${path}`),
  );
  assert.ok(!shown("/x/oauth2/start"));
  assert.equal(signin.services[0].name, "oauth2-proxy-developers");
  assert.ok(signin.priority > app.priority);
  // The rule of somebody's wildcard host has its length as its priority.
  assert.ok(app.priority > "HostRegexp(`^[a-z0-9-]{1,63}\\.example\\.com$`) && PathPrefix(`/`)".length);
  assert.deepEqual(app.middlewares, [{ name: "code-oauth2-chain", namespace: "code" }]);
});

test("the operator has what it needs, in a Deployment and account of its own", async () => {
  const ran = await run();
  assert.deepEqual(variables(ran, OPERATOR), {
    CF_API_TOKEN: key("CF_API_TOKEN", "code-cf-credentials"),
    CF_ZONE_ID: "zone-1",
    CF_TUNNEL_ID: "tunnel-1",
    DOMAIN: "example.com",
    ROUTE_SUFFIX: "-oc",
    ATTACH_ROUTE_PREFIX: "attach-",
    ROUTES: "per-session",
    ROUTER_SERVICE_URL: "http://traefik-controller.traefik-system.svc.cluster.local:80",
    WATCH_NAMESPACE: "code",
    INGRESSROUTE_NAMESPACE: "code",
    OAUTH2_CHAIN_MIDDLEWARE: "code-oauth2-chain",
    ROUTER_SERVICE_NAME: "code",
    ATTACH_SERVICE_NAME: "code-attach",
    ATTACH_SERVICE_PORT: "4096",
    SIGNIN_SERVICE_NAME: "oauth2-proxy-developers",
    SIGNIN_SERVICE_NAMESPACE: "oauth2-proxy",
    HEALTH_PORT: "8081",
    LOG_FORMAT: "json",
  });
  const { spec } = of(ran, OPERATOR);
  assert.equal(spec.template.spec.serviceAccountName, "code-cloudflare-operator");
  // With the router's label, its Pods would get the site's requests.
  assert.deepEqual(spec.template.metadata.labels, { app: "code-cloudflare-operator" });
  assert.deepEqual(spec.selector.matchLabels, spec.template.metadata.labels);
  const [container] = spec.template.spec.containers;
  assert.deepEqual(
    [container.image, container.ports],
    [CONFIG["code:cfOperatorImage"], [{ name: "health", containerPort: 8081 }]],
  );
  assert.equal(container.securityContext.readOnlyRootFilesystem, true);
  assert.ok(ran.resources.get(OPERATOR)?.dependencies.includes("code-deployment"));
  assert.equal(variables(await run({ "code:routes": "wildcard" }), OPERATOR).ROUTES, "wildcard");
});

test("the operator starts the sign-in that the chain asks for", async () => {
  const ran = await run();
  const { SIGNIN_SERVICE_NAME: name, SIGNIN_SERVICE_NAMESPACE: namespace } = variables(ran, OPERATOR);
  const { address } = of(ran, "traefik.io/v1alpha1:Middleware/code-oauth2-forwardauth").spec.forwardAuth;
  assert.equal(new URL(address).host, `${name}.${namespace}.svc.cluster.local`);
  assert.ok(
    variables(ran, DEPLOYMENT)
      .AUTH_COOKIE_NAMES.split(",")
      .includes(`_${name.replace("-proxy-", "_")}`),
  );
});

test("router and operator agree on the names of hosts, Services and middleware", async () => {
  const ran = await run();
  const [router, operator] = [variables(ran, DEPLOYMENT), variables(ran, OPERATOR)];
  assert.deepEqual(
    [operator.DOMAIN, operator.ROUTE_SUFFIX, operator.ATTACH_ROUTE_PREFIX, operator.WATCH_NAMESPACE],
    [router.ROUTER_DOMAIN, router.ROUTE_SUFFIX, router.ATTACH_ROUTE_PREFIX, router.OPENCODE_NAMESPACE],
  );
  assert.notEqual(operator.HEALTH_PORT, router.HEALTH_PORT);
  assert.equal(of(ran, CHAIN).metadata.name, operator.OAUTH2_CHAIN_MIDDLEWARE);
  assert.equal(of(ran, "core/v1:Service/code-service").metadata.name, operator.ROUTER_SERVICE_NAME);
  assert.equal(of(ran, "core/v1:Service/code-attach").metadata.name, operator.ATTACH_SERVICE_NAME);
});

function root(file: string): string {
  return path.join(__dirname, "../../../..", file);
}

/** The objects of deploy/install.yaml, which the chart renders. */
function chart(kind: string, name: string): any {
  const objects = loadAll(readFileSync(root("deploy/install.yaml"), "utf8")) as any[];
  return objects.find((object) => object?.kind === kind && object.metadata.name === name);
}

test("the router's Role is the chart's", async () => {
  const { rules } = of(await run(), "rbac.authorization.k8s.io/v1:Role/code-role");
  assert.deepEqual(rules, chart("Role", "opencode-router").rules);
});

test("the operator's Role is the chart's, and reads no Secret", async () => {
  const ran = await run();
  const { rules } = of(ran, "rbac.authorization.k8s.io/v1:Role/code-cloudflare-operator-role");
  const template = readFileSync(root("deploy/chart/templates/operator.yaml"), "utf8");
  assert.deepEqual(rules, (load(template.match(/^rules:\n(?: .*\n)+/m)?.[0] ?? "") as any).rules);
  assert.doesNotMatch(JSON.stringify(rules), /secrets|pods|middlewares|\*/);
  for (const name of ["code", "code-cloudflare-operator"]) {
    const binding = of(ran, `rbac.authorization.k8s.io/v1:RoleBinding/${name}-rolebinding`);
    assert.deepEqual(
      [binding.roleRef.kind, binding.roleRef.name, binding.subjects],
      ["Role", name, [{ kind: "ServiceAccount", name, namespace: "code" }]],
    );
  }
});

test("nobody of this stack may read Middlewares, which hold the proxy secret", async () => {
  const { resources } = await run();
  const rules = [...resources.values()]
    .filter(({ inputs }) => inputs.kind === "Role")
    .flatMap(({ inputs }) => inputs.rules);
  assert.ok(rules.length > 0);
  assert.ok(
    !rules.some(({ resources }: any) => resources.includes("middlewares") || resources.includes("*")),
  );
});

test("sessions are isolated as by the chart", async () => {
  const { spec } = of(await run(), "networking.k8s.io/v1:NetworkPolicy/code-sessions-policy");
  const expected = chart("NetworkPolicy", "opencode-router-sessions").spec;
  expected.ingress[0].from[0].podSelector.matchLabels = { app: "code" };
  expected.egress[1].to[0].podSelector.matchLabels = { app: "code" };
  assert.deepEqual(spec, expected);
});

test("sessions reach what code:sessionsEgress names besides", async () => {
  const ran = await run({
    "code:sessionsEgress": '[{"cidr":"192.168.1.20/32","port":8080},{"cidr":"fd00::1/128"}]',
  });
  const { egress } = of(ran, "networking.k8s.io/v1:NetworkPolicy/code-sessions-policy").spec;
  assert.deepEqual(egress.slice(3), [
    { to: [{ ipBlock: { cidr: "192.168.1.20/32" } }], ports: [{ port: 8080, protocol: "TCP" }] },
    { to: [{ ipBlock: { cidr: "fd00::1/128" } }] },
  ]);
});

test("only Traefik reaches the router, sessions its reports' port, and nobody the operator", async () => {
  const ran = await run();
  const policy = (name: string) => of(ran, `networking.k8s.io/v1:NetworkPolicy/${name}-policy`).spec;
  assert.deepEqual(policy("code"), {
    podSelector: { matchLabels: { app: "code" } },
    policyTypes: ["Ingress"],
    ingress: [
      {
        ports: [{ port: "http" }, { port: "attach" }],
        from: [{ namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": "traefik-system" } } }],
      },
      {
        ports: [{ port: "reports" }],
        from: [
          { podSelector: { matchExpressions: [{ key: "opencode.ai/session-hash", operator: "Exists" }] } },
        ],
      },
    ],
  });
  assert.deepEqual(policy("code-cloudflare-operator"), {
    podSelector: { matchLabels: { app: "code-cloudflare-operator" } },
    policyTypes: ["Ingress"],
    ingress: [],
  });
  const monitored = await run({ "code:metricsNamespace": "monitoring", "code:traefikNamespace": "edge" });
  for (const name of ["code", "code-cloudflare-operator"]) {
    const { ingress } = of(monitored, `networking.k8s.io/v1:NetworkPolicy/${name}-policy`).spec;
    assert.deepEqual(ingress.at(-1), {
      ports: [{ port: "health" }],
      from: [{ namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": "monitoring" } } }],
    });
  }
  assert.equal(
    variables(monitored, OPERATOR).ROUTER_SERVICE_URL,
    "http://traefik-controller.edge.svc.cluster.local:80",
  );
});

test("the Secrets have the original's names and keys", async () => {
  const ran = await run();
  const data = (name: string) => of(ran, `core/v1:Secret/${name}`).stringData;
  assert.deepEqual(data("code-api-keys"), {
    OPENROUTER_API_KEY: "text of openrouterApiKey",
    OPENROUTER_FREE_API_KEY: "text of openrouterFreeApiKey",
  });
  assert.deepEqual(data("code-cf-credentials"), { CF_API_TOKEN: "text of apiToken" });
  assert.deepEqual(data("code-admin-secret"), { ADMIN_SECRET: "text of adminSecret" });
  const other = await run({
    "code:openrouterApiKey": undefined,
    "code:openrouterFreeApiKey": undefined,
    "code:apiKeys": '{"ANTHROPIC_API_KEY":"text of anthropic"}',
  });
  assert.deepEqual(of(other, "core/v1:Secret/code-api-keys").stringData, {
    ANTHROPIC_API_KEY: "text of anthropic",
  });
});

test("a secret's text is in Secrets and in the proxy-secret Middleware alone, and encrypted there", async () => {
  const { resources } = await run({ "code:apiKeys": '{"ANTHROPIC_API_KEY":"text of anthropic"}' });
  const holders: string[] = [];
  for (const { name, type, inputs, secrets } of resources.values()) {
    if (!/text of|generated proxy secret/.test(JSON.stringify(inputs))) continue;
    holders.push(name);
    if (type.startsWith("kubernetes:"))
      assert.ok(secrets.length > 0, `${name} shows a secret in Pulumi's state`);
  }
  assert.deepEqual(holders.toSorted(), [
    "code-admin-secret",
    "code-api-keys",
    "code-cf-credentials",
    "code-proxy-secret",
    "code-proxy-secret-middleware",
  ]);
});

test("a changed secret restarts who reads it at its start", async () => {
  const sum = async (config: Record<string, string>, key: string) =>
    of(await run(config), key).spec.template.metadata.annotations["checksum/secrets"];
  const [router, operator] = [await sum({}, DEPLOYMENT), await sum({}, OPERATOR)];
  assert.match(router, /^[0-9a-f]{16}$/);
  assert.equal(await sum({}, DEPLOYMENT), router);
  assert.notEqual(await sum({ "code:adminSecret": "another" }, DEPLOYMENT), router);
  assert.notEqual(await sum({ "code:proxySecret": "0123456789abcdef" }, DEPLOYMENT), router);
  assert.notEqual(await sum({ "cloudflare:apiToken": "another" }, OPERATOR), operator);
});

test("the pull secret comes from the homelab's store", async () => {
  const { spec } = of(await run(), "external-secrets.io/v1beta1:ExternalSecret/code-ghcr-pull-secret");
  assert.deepEqual(spec.secretStoreRef, { name: "pulumi-esc", kind: "ClusterSecretStore" });
  assert.equal(spec.target.name, "ghcr-pull-secret");
  assert.equal(spec.target.template.type, "kubernetes.io/dockerconfigjson");
  assert.deepEqual(
    spec.data.map(({ remoteRef }: any) => remoteRef.key),
    ["github-username", "github-token"],
  );
  const text: string = spec.target.template.data[".dockerconfigjson"];
  assert.deepEqual(Object.keys(JSON.parse(text.replace(/"\{\{.*?\}\}"/g, '""')).auths), ["ghcr.io"]);
});

test("opencode's configuration has the lists of models, and .env", async () => {
  const ran = await run({ "code:podEnv": "A=1\n", "code:defaultModel": "openrouter/x" });
  const { data } = of(ran, CONFIG_MAP);
  assert.deepEqual(Object.keys(data).toSorted(), [".env", "opencode.json"]);
  assert.equal(data[".env"], "A=1\n");
  const config = JSON.parse(data["opencode.json"]);
  assert.equal(config.model, "openrouter/x");
  assert.deepEqual(Object.keys(config.provider), ["openrouter", "openrouter-free"]);
  assert.deepEqual(
    Object.keys(config.provider.openrouter.models),
    committed.paid.map(({ id }) => id),
  );
  assert.deepEqual(
    Object.keys(config.provider["openrouter-free"].models),
    committed.free.map(({ id }) => id),
  );
  assert.equal(config.provider["openrouter-free"].options.apiKey, "{env:OPENROUTER_FREE_API_KEY}");
  assert.doesNotMatch(JSON.stringify(data), /text of/);
});

test("opencode reads the configuration, where sessions have it", async () => {
  const installed = spawnSync(process.execPath, [root("scripts/install-opencode.mjs")], { encoding: "utf8" });
  assert.equal(installed.status, 0, installed.stderr);
  const home = mkdtempSync(path.join(tmpdir(), "opencode-homelab-home-"));
  const model = `openrouter-free/${committed.free[0]?.id}`;
  try {
    const { data } = of(await run({ "code:defaultModel": model }), CONFIG_MAP);
    for (const folder of [".opencode", "repo"]) mkdirSync(path.join(home, folder));
    writeFileSync(path.join(home, ".opencode/opencode.json"), data["opencode.json"]);
    const env = {
      PATH: process.env.PATH,
      HOME: home,
      OPENROUTER_FREE_API_KEY: "key",
      OPENCODE_DISABLE_MODELS_FETCH: "1",
      OPENCODE_DISABLE_AUTOUPDATE: "1",
    };
    const opencode = (...args: string[]) => {
      const { stdout, stderr } = spawnSync(installed.stdout.trim(), args, {
        cwd: path.join(home, "repo"),
        env,
        encoding: "utf8",
      });
      return { stdout, stderr };
    };
    const { stdout, stderr } = opencode("models", "openrouter-free");
    const models = stdout.trim().split("\n");
    assert.deepEqual(
      models.toSorted(),
      committed.free.map(({ id }) => `openrouter-free/${id}`).toSorted(),
      stderr,
    );
    assert.ok(opencode("debug", "config").stdout.includes(`"model": "${model}"`));
  } finally {
    rmSync(home, { recursive: true, force: true });
  }
});

test("a deployment that cannot fetch the lists keeps the last deployment's", async () => {
  const models = {
    free: [{ id: "last/free", name: "Last", context: 5, output: 5 }],
    paid: [{ id: "last/paid", name: "Last", context: 5, output: 5 }],
    local: [{ id: "last-local", name: "Last", context: 5, output: 5 }],
  };
  const ran = await run({ "code:llamaCppUrl": "http://127.0.0.1:9/" }, { models });
  assert.deepEqual(ran.outputs.models, models);
  assert.equal(ran.warnings.length, 3);
  const { provider } = JSON.parse(of(ran, CONFIG_MAP).data["opencode.json"]);
  assert.deepEqual(Object.keys(provider.openrouter.models), ["last/paid"]);
  assert.deepEqual(provider.flinker.models, {
    "last-local": { name: "Last", limit: { context: 5, output: 5 } },
  });
  assert.equal(provider.flinker.options.baseURL, "http://127.0.0.1:9/v1");
});

test("an output of the last deployment that has another form is not used", async () => {
  for (const models of ["x", { free: [] }, [{ id: 7 }]]) {
    assert.deepEqual((await run({}, { models })).outputs.models, committed);
  }
});

test("lists that can be fetched are deployed", async () => {
  const data = [
    { id: "new/free", name: "New", context_length: 10, pricing: { prompt: "0", completion: "0" } },
  ];
  const server = createServer((_, response) => response.end(JSON.stringify({ data })));
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const { port } = server.address() as AddressInfo;
  const ran = await run({ "code:openrouterModelsUrl": `http://127.0.0.1:${port}/` });
  server.closeAllConnections();
  server.close();
  const { provider } = JSON.parse(of(ran, CONFIG_MAP).data["opencode.json"]);
  assert.deepEqual(Object.keys(provider["openrouter-free"].models), ["new/free"]);
  // No paid model was among them.
  assert.deepEqual(
    Object.keys(provider.openrouter.models),
    committed.paid.map(({ id }) => id),
  );
});

test("the misspelled key podenv is used, with a warning", async () => {
  const about = (ran: Ran) => ran.warnings.filter((warning) => warning.includes("podenv"));
  const old = await run({ "code:podenv": "A=old" });
  assert.equal(of(old, CONFIG_MAP).data[".env"], "A=old");
  assert.match(about(old).join(), /Rename it/);
  const both = await run({ "code:podenv": "A=old", "code:podEnv": "A=new" });
  assert.equal(of(both, CONFIG_MAP).data[".env"], "A=new");
  assert.match(about(both).join(), /ignored/);
  assert.deepEqual(about(await run({ "code:podEnv": "A=new" })), []);
});

test("the program loads as Pulumi loads it, from TypeScript", () => {
  // With `main` in Pulumi.yaml, Pulumi would look for tsconfig.json beside the program, not find it, and use
  // settings of its own.
  const project = load(readFileSync(root("deploy/homelab/Pulumi.yaml"), "utf8")) as any;
  assert.equal(project.main, undefined);
  const script = `
    const { tsnodeRequire, typescriptRequire } = require("@pulumi/pulumi/tsutils").typeScriptRequireStrings();
    require(tsnodeRequire).register({ compiler: typescriptRequire, project: "tsconfig.json", compilerOptions: {} });
    const pulumi = require("@pulumi/pulumi");
    const newResource = ({ name, inputs }) => ({ id: name, state: { ...inputs, outputs: ${JSON.stringify(BASE_STACK)} } });
    pulumi.runtime.setMocks({ call: () => ({}), newResource }, "opencode", "dev", false, "organization").then(() => {
      pulumi.runtime.setAllConfig(${JSON.stringify(CONFIG)});
      require("./" + require("./package.json").main).url.apply((url) => console.log(url));
    });`;
  const cwd = path.join(__dirname, "../..");
  const { stdout, stderr } = spawnSync(process.execPath, ["-e", script], { cwd, encoding: "utf8" });
  assert.match(stdout, /^https:\/\/code\.example\.com$/m, stderr);
});

test("docs/homelab.md has every key of the configuration", () => {
  const page = readFileSync(root("docs/homelab.md"), "utf8");
  const source = readFileSync(root("deploy/homelab/src/config.ts"), "utf8");
  const keys = [...source.matchAll(/code\.(?:get|require)\w*(?:<.*?>+)?\("(\w+)"\)/g)].map(
    ([, key]) => `code:${key}`,
  );
  const documented = [...page.matchAll(/^\| `(code:\w+)` \|/gm)].map(([, key]) => key);
  assert.deepEqual(documented.toSorted(), [...new Set(keys)].toSorted());
});
