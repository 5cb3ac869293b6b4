/** Runs the program with Pulumi's mocks: no engine, no cluster, no network except for model lists. */
import * as path from "node:path";

import * as pulumi from "@pulumi/pulumi";

/** A resource as the program registers it. */
export interface Registered {
  urn: string;
  type: string;
  name: string;
  /** Without the marks of secrets. */
  inputs: any;
  /** Paths within the inputs that Pulumi encrypts in its state. */
  secrets: string[];
  dependencies: string[];
}

export interface Ran {
  /** By `<type>/<logical name>`; the type without `kubernetes:` or `pulumi:`. */
  resources: Map<string, Registered>;
  outputs: Record<string, unknown>;
  warnings: string[];
}

export const CONFIG: Record<string, string> = {
  "code:routerImage": "ghcr.io/example/opencode-router:1.0.0-main.abcdef0",
  "code:cfOperatorImage": "ghcr.io/example/opencode-cloudflare-operator:1.0.0-main.abcdef0",
  "code:opencodeImage": "ghcr.io/example/opencode:1.0.0-main.abcdef0",
  "code:openrouterApiKey": "text of openrouterApiKey",
  "code:openrouterFreeApiKey": "text of openrouterFreeApiKey",
  "code:adminSecret": "text of adminSecret",
  "cloudflare:apiToken": "text of apiToken",
  // Nothing listens there: the lists stay.
  "code:openrouterModelsUrl": "http://127.0.0.1:9/models",
};
export const PROXY_SECRET = "the generated proxy secret";

export const BASE_STACK = {
  domain: "example.com",
  cloudflareZoneId: "zone-1",
  tunnelId: "tunnel-1",
  tunnelCname: "tunnel-1.cfargotunnel.com",
};
const SECRET_SIGNATURE = "1b47061264138c4ac30d75fd1eb44270";
const SIGNATURE_KEY = "4dabf18193072939515e22adb298388d";
let ran = Promise.resolve();

/**
 * Runs the program. `config` is added to CONFIG; undefined removes a key. `last` are the outputs of the
 * stack's last deployment.
 */
export function run(
  config: Record<string, string | undefined> = {},
  last: Record<string, unknown> = {},
  base: Record<string, unknown> = BASE_STACK,
): Promise<Ran> {
  // Pulumi's state is the process's: one program at a time.
  const next = ran.then(() => runAlone(config, last, base));
  ran = next.then(
    () => undefined,
    () => undefined,
  );
  return next;
}

async function runAlone(
  config: Record<string, string | undefined>,
  last: Record<string, unknown>,
  base: Record<string, unknown>,
): Promise<Ran> {
  await pulumi.runtime.setMocks(
    {
      call: () => ({}),
      newResource: ({ type, name, inputs, id }) => {
        if (type === "pulumi:pulumi:StackReference") {
          const isSelf = plain(inputs).name === "mrsimpson/opencode/dev";
          return { id: name, state: { ...inputs, outputs: isSelf ? last : base } };
        }
        const state = type.startsWith("random:") ? { ...inputs, result: PROXY_SECRET } : inputs;
        return { id: id ?? `${name}-id`, state };
      },
    },
    "opencode",
    "dev",
    false,
    "mrsimpson",
  );
  const all = Object.entries({ ...CONFIG, ...config }).filter(([, value]) => value !== undefined);
  pulumi.runtime.setAllConfig(
    Object.fromEntries(all) as Record<string, string>,
    all.map(([key]) => key).filter((key) => /Key|Secret$|apiToken/.test(key)),
  );
  const resources = new Map<string, Registered>();
  record(resources);
  const warnings: string[] = [];
  const { warn } = pulumi.log;
  (pulumi.log as { warn: unknown }).warn = (message: string) => Promise.resolve(warnings.push(message));
  try {
    const outputs = load();
    const values = await settle(pulumi.output(outputs) as unknown as pulumi.Output<Record<string, unknown>>);
    await pulumi.runtime.disconnect();
    return { resources, outputs: values, warnings };
  } finally {
    (pulumi.log as { warn: unknown }).warn = warn;
  }
}

/** Loads the program anew; what it imports of others stays loaded. */
function load(): Record<string, unknown> {
  const program = path.join(__dirname, "../src/");
  for (const file of Object.keys(require.cache)) if (file.startsWith(program)) delete require.cache[file];
  return { ...require(path.join(program, "index.js")) };
}

function settle<T>(output: pulumi.Output<T>): Promise<T> {
  return (output as unknown as { promise(): Promise<T> }).promise();
}

/** Notes each request before the mocks answer it. */
function record(resources: Map<string, Registered>): void {
  const monitor = pulumi.runtime.getMonitor() as any;
  const read = monitor.readResource.bind(monitor);
  monitor.readResource = (request: any, callback: any) => {
    const [type, name] = [request.getType() as string, request.getName() as string];
    const inputs = plain(request.getProperties().toJavaScript());
    resources.set(`read ${type}/${name}`, { urn: "", type, name, inputs, secrets: [], dependencies: [] });
    read(request, callback);
  };
  const register = monitor.registerResource.bind(monitor);
  monitor.registerResource = (request: any, callback: any) => {
    const inputs = request.getObject()?.toJavaScript() ?? {};
    const [type, name] = [request.getType() as string, request.getName() as string];
    register(request, (error: unknown, answer: any) => {
      if (answer !== undefined) {
        resources.set(`${type.replace(/^(kubernetes|pulumi):/, "")}/${name}`, {
          urn: answer.getUrn(),
          type,
          name,
          inputs: plain(inputs),
          secrets: secretPaths(inputs),
          dependencies: request.getDependenciesList().map((urn: string) => urn.split("::").at(-1)),
        });
      }
      callback(error, answer);
    });
  };
}

function isSecret(value: any): boolean {
  return value?.[SIGNATURE_KEY] === SECRET_SIGNATURE;
}

function plain(value: any): any {
  if (isSecret(value)) return plain(value.value);
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(Object.entries(value).map(([key, inner]) => [key, plain(inner)]));
}

function secretPaths(value: any, at = ""): string[] {
  if (isSecret(value)) return [at];
  if (typeof value !== "object" || value === null) return [];
  return Object.entries(value).flatMap(([key, inner]) =>
    secretPaths(inner, at === "" ? key : `${at}.${key}`),
  );
}

/** The Kubernetes objects among the resources, as manifests. */
export function manifests(ran: Ran): any[] {
  return [...ran.resources.values()]
    .filter(({ type }) => type.startsWith("kubernetes:"))
    .map(({ inputs }) => inputs);
}
