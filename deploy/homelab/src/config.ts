import * as pulumi from "@pulumi/pulumi";

/** Somewhere that sessions may reach besides the public internet. */
export interface EgressTarget {
  cidr: string;
  port?: number;
}

/** What `pulumi config` says. docs/homelab.md lists the keys. */
export interface Settings {
  homelabStack: string;
  routerImage: string;
  operatorImage: string;
  sessionImage: string;
  chromiumImage?: string;
  /** The variables of every session, by name. */
  apiKeys: pulumi.Output<Record<string, string>>;
  adminSecret: pulumi.Output<string>;
  proxySecret?: pulumi.Output<string>;
  cloudflareToken: pulumi.Output<string>;
  defaultGitRepo?: string;
  storageSize: string;
  storageClass: string;
  podEnv: string;
  routes: "per-session" | "wildcard";
  replicas: number;
  idleTimeoutMinutes?: number;
  pullSecretStore?: string;
  traefikNamespace: string;
  traefikService: string;
  metricsNamespace?: string;
  sessionsEgress: EgressTarget[];
  models: ModelSettings;
  /** More variables of the router, by name. */
  routerEnv: Record<string, string>;
}

/** Where model lists come from. */
export interface ModelSettings {
  openrouterUrl: string;
  llamaCppUrl?: string;
  /** opencode's `model`, as `<provider>/<model>`. */
  defaultModel?: string;
}

const OPENROUTER_MODELS =
  "https://openrouter.ai/api/v1/models?categories=programming&supported_parameters=tools&order=most-popular";

/** Reads the configuration. Throws what is wrong with it, before any resource is touched. */
export function readSettings(): Settings {
  const code = new pulumi.Config("code");
  const routes = code.get("routes") ?? "per-session";
  if (routes !== "per-session" && routes !== "wildcard") {
    throw new Error(`code:routes is "${routes}". Set it to per-session or wildcard.`);
  }
  const replicas = code.getNumber("replicas") ?? 2;
  if (!Number.isInteger(replicas) || replicas < 1) {
    throw new Error(`code:replicas is ${replicas}. Set it to a whole number from 1 on.`);
  }
  return {
    homelabStack: code.get("homelabStack") ?? "mrsimpson/homelab/dev",
    routerImage: code.require("routerImage"),
    operatorImage: code.require("cfOperatorImage"),
    sessionImage: code.require("opencodeImage"),
    chromiumImage: code.get("chromiumImage"),
    apiKeys: apiKeys(code),
    adminSecret: code.requireSecret("adminSecret"),
    proxySecret: proxySecret(code),
    cloudflareToken: new pulumi.Config("cloudflare").requireSecret("apiToken"),
    defaultGitRepo: code.get("defaultGitRepo"),
    storageSize: code.get("storageSize") ?? "10Gi",
    storageClass: code.get("storageClass") ?? "longhorn-uncritical",
    podEnv: podEnv(code),
    routes,
    replicas,
    idleTimeoutMinutes: code.getNumber("idleTimeoutMinutes"),
    pullSecretStore: orNone(code.get("pullSecretStore") ?? "pulumi-esc"),
    traefikNamespace: code.get("traefikNamespace") ?? "traefik-system",
    traefikService: code.get("traefikService") ?? "traefik-controller",
    metricsNamespace: code.get("metricsNamespace"),
    sessionsEgress: sessionsEgress(code),
    models: {
      openrouterUrl: code.get("openrouterModelsUrl") ?? OPENROUTER_MODELS,
      llamaCppUrl: code.get("llamaCppUrl"),
      defaultModel: code.get("defaultModel"),
    },
    routerEnv: routerEnv(code),
  };
}

function orNone(text: string): string | undefined {
  return text === "none" ? undefined : text;
}

/** The keys of OpenRouter, as the original has them, and those of any other provider. */
function apiKeys(code: pulumi.Config): pulumi.Output<Record<string, string>> {
  const named = {
    OPENROUTER_API_KEY: code.getSecret("openrouterApiKey"),
    OPENROUTER_FREE_API_KEY: code.getSecret("openrouterFreeApiKey"),
  };
  const others = code.getSecretObject<Record<string, unknown>>("apiKeys") ?? pulumi.output({});
  const all = pulumi.all([named, others]).apply(([openrouter, other]) => {
    const keys = Object.entries({ ...openrouter, ...other }).filter(([, value]) => value !== undefined);
    for (const [name, value] of keys) {
      if (!/^[A-Za-z_][A-Za-z0-9_]*$/.test(name) || typeof value !== "string") {
        throw new Error(`code:apiKeys.${name} must be the name of a variable, with a text as its value.`);
      }
    }
    return Object.fromEntries(keys) as Record<string, string>;
  });
  return pulumi.secret(all);
}

function proxySecret(code: pulumi.Config): pulumi.Output<string> | undefined {
  return code.getSecret("proxySecret")?.apply((secret) => {
    if (secret.length < 16) {
      throw new Error(
        "code:proxySecret has less than 16 characters. The router refuses that: set a longer one.",
      );
    }
    return secret;
  });
}

/** The original's example of a stack spells the key `podenv`, which its program never reads. */
function podEnv(code: pulumi.Config): string {
  const [podEnv, podenv] = [code.get("podEnv"), code.get("podenv")];
  if (podenv !== undefined) {
    void pulumi.log.warn(
      podEnv === undefined
        ? "code:podenv is used as code:podEnv, which is the key's name. Rename it: pulumi config rm code:podenv"
        : "code:podenv is ignored, since code:podEnv is set. Remove it: pulumi config rm code:podenv",
    );
  }
  return podEnv ?? podenv ?? "";
}

function sessionsEgress(code: pulumi.Config): EgressTarget[] {
  const targets = code.getObject<EgressTarget[]>("sessionsEgress") ?? [];
  const wrong = 'code:sessionsEgress must be a list like [{"cidr": "192.168.1.20/32", "port": 8080}].';
  if (!Array.isArray(targets)) throw new Error(wrong);
  for (const { cidr, port } of targets) {
    const isPort = port === undefined || (Number.isInteger(port) && port > 0 && port < 65536);
    if (typeof cidr !== "string" || !/^[0-9a-fA-F.:]+\/\d{1,3}$/.test(cidr) || !isPort)
      throw new Error(wrong);
  }
  return targets;
}

function routerEnv(code: pulumi.Config): Record<string, string> {
  const more = code.getObject<Record<string, unknown>>("routerEnv") ?? {};
  return Object.fromEntries(Object.entries(more).map(([name, value]) => [name, String(value)]));
}
