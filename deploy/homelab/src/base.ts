import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";
import * as random from "@pulumi/random";

import type { Settings } from "./config";
import { areLists, fetchLists, type ModelLists } from "./models";
import committedLists from "./models.json";
import {
  ADMIN_SECRET,
  API_KEYS_SECRET,
  APP,
  CLOUDFLARE_SECRET,
  CONFIG_MAP,
  LABELS,
  PROXY_SECRET,
  PULL_SECRET,
} from "./names";
import { opencodeConfig } from "./opencode-config";

/** The namespace. It admits only Pods of the level `restricted`, sessions included. */
export function makeNamespace(): k8s.core.v1.Namespace {
  const level = (mode: string) => ({
    [`pod-security.kubernetes.io/${mode}`]: "restricted",
    [`pod-security.kubernetes.io/${mode}-version`]: "latest",
  });
  return new k8s.core.v1.Namespace(`${APP}-ns`, {
    metadata: { name: APP, labels: { ...LABELS, ...level("enforce"), ...level("warn") } },
  });
}

/** The Secrets, and the text of the one that Traefik sends. */
export interface Secrets {
  all: pulumi.Resource[];
  proxySecret: pulumi.Output<string>;
  /** Changes with each text that the router reads only at its start, and reveals none of them. */
  checksum: pulumi.Output<string>;
}

export function makeSecrets(settings: Settings, namespace: pulumi.Output<string>): Secrets {
  const secret = (
    logicalName: string,
    name: string,
    stringData: pulumi.Input<Record<string, pulumi.Input<string>>>,
  ) =>
    new k8s.core.v1.Secret(logicalName, {
      metadata: { name, namespace, labels: LABELS },
      type: "Opaque",
      stringData,
    });
  // It stays the same in all deployments, until the stack is destroyed.
  const proxySecret = pulumi.secret(
    settings.proxySecret ?? new random.RandomPassword(PROXY_SECRET, { length: 48, special: false }).result,
  );
  return {
    all: [
      secret(`${APP}-api-keys`, API_KEYS_SECRET, settings.apiKeys),
      secret(CLOUDFLARE_SECRET, CLOUDFLARE_SECRET, { CF_API_TOKEN: settings.cloudflareToken }),
      secret(ADMIN_SECRET, ADMIN_SECRET, { ADMIN_SECRET: settings.adminSecret }),
      secret(PROXY_SECRET, PROXY_SECRET, { TRUSTED_PROXY_SECRET: proxySecret }),
    ],
    proxySecret,
    checksum: keyedDigest(proxySecret, settings.adminSecret),
  };
}

/**
 * A digest of a secret that may stand in an annotation. It is keyed by a random text, so that nobody can try
 * guesses of a short secret on it.
 */
export function keyedDigest(
  key: pulumi.Output<string>,
  secret: pulumi.Output<string>,
): pulumi.Output<string> {
  return pulumi.all([key, secret]).apply(async ([key, secret]) => {
    const { createHmac } = await import("node:crypto");
    return createHmac("sha256", key).update(secret).digest("hex").slice(0, 16);
  });
}

/** Credentials for the registry, from the homelab's secret store; made once, under the original's name. */
export function makePullSecret(
  store: string,
  namespace: pulumi.Output<string>,
): k8s.apiextensions.CustomResource {
  const login =
    '{"username":"{{ .github_username }}","password":"{{ .github_token }}",' +
    '"auth":"{{ printf "%s:%s" .github_username .github_token | b64enc }}"}';
  return new k8s.apiextensions.CustomResource(`${APP}-${PULL_SECRET}`, {
    apiVersion: "external-secrets.io/v1beta1",
    kind: "ExternalSecret",
    metadata: { name: PULL_SECRET, namespace, labels: LABELS },
    spec: {
      refreshInterval: "1h",
      secretStoreRef: { name: store, kind: "ClusterSecretStore" },
      target: {
        name: PULL_SECRET,
        creationPolicy: "Owner",
        template: {
          type: "kubernetes.io/dockerconfigjson",
          data: { ".dockerconfigjson": `{"auths":{"ghcr.io":${login}}}` },
        },
      },
      data: [
        { secretKey: "github_username", remoteRef: { key: "github-username" } },
        { secretKey: "github_token", remoteRef: { key: "github-token" } },
      ],
    },
  });
}

/** The lists of models: as they are now, else as this stack had them, else as they are committed. */
export function modelLists(settings: Settings): pulumi.Output<ModelLists> {
  const self = `${pulumi.getOrganization()}/${pulumi.getProject()}/${pulumi.getStack()}`;
  const last = new pulumi.StackReference(self).getOutput("models") as pulumi.Output<unknown>;
  return last.apply(async (last) =>
    fetchLists(
      settings.models,
      areLists(last) ? last : committedLists,
      (message) => void pulumi.log.warn(message),
    ),
  );
}

/** opencode's configuration in every session. */
export function makeConfigMap(
  settings: Settings,
  lists: pulumi.Output<ModelLists>,
  namespace: pulumi.Output<string>,
): k8s.core.v1.ConfigMap {
  return new k8s.core.v1.ConfigMap(`${APP}-config`, {
    metadata: { name: CONFIG_MAP, namespace, labels: LABELS },
    data: {
      "opencode.json": lists.apply((lists) => opencodeConfig(lists, settings.models)),
      ".env": settings.podEnv,
    },
  });
}
