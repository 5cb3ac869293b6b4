/**
 * Prints the Kubernetes objects of the program as a list, for one of the configurations below, or for one in
 * JSON. With `pods`, the Pods of its Deployments.
 */
import { originalManifests } from "./original";
import { manifests, run } from "./program";

/** Configurations that make different objects. */
export const CONFIGURATIONS: Record<string, Record<string, string>> = {
  default: {},
  everything: {
    "code:routes": "wildcard",
    "code:replicas": "3",
    "code:chromiumImage": "docker.io/chromedp/headless-shell:latest",
    "code:defaultGitRepo": "https://github.com/example/repo",
    "code:idleTimeoutMinutes": "60",
    "code:metricsNamespace": "monitoring",
    "code:podEnv": "A=1\nB=2\n",
    "code:apiKeys": '{"ANTHROPIC_API_KEY":"x"}',
    "code:routerEnv": '{"MAX_SESSIONS_PER_USER":5}',
    "code:sessionsEgress": '[{"cidr":"192.168.1.20/32","port":8080},{"cidr":"fd00::1/128"}]',
    "code:pullSecretStore": "none",
  },
};

async function main(): Promise<void> {
  const [which = "default", pods] = process.argv.slice(2);
  if (which === "original") return print(originalManifests());
  const config = which.startsWith("{") ? JSON.parse(which) : CONFIGURATIONS[which];
  if (config === undefined) {
    throw new Error(`Usage: render [${Object.keys(CONFIGURATIONS).join("|")}|JSON] [pods]`);
  }
  const objects = manifests(await run(config.config ?? config, {}, config.base));
  const items = pods === undefined ? objects : objects.filter(({ kind }) => kind === "Deployment").map(pod);
  print(items);
}

function print(items: unknown[]): void {
  process.stdout.write(`${JSON.stringify({ apiVersion: "v1", kind: "List", items }, null, 2)}\n`);
}

function pod({ metadata, spec: { template } }: any): unknown {
  const { name, namespace } = metadata;
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, namespace, ...template.metadata },
    spec: template.spec,
  };
}

if (require.main === module)
  main().catch((error: unknown) => {
    console.error(error);
    process.exit(1);
  });
