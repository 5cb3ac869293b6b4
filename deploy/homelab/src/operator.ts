import * as k8s from "@pulumi/kubernetes";
import type * as pulumi from "@pulumi/pulumi";

import type { Settings } from "./config";
import {
  APP,
  ATTACH_PORT,
  ATTACH_ROUTE_PREFIX,
  ATTACH_SERVICE,
  CHAIN_MIDDLEWARE,
  CLOUDFLARE_SECRET,
  LABELS,
  OPERATOR,
  OPERATOR_HEALTH_PORT,
  OPERATOR_LABELS,
  PULL_SECRET,
  ROUTE_SUFFIX,
  SIGNIN_NAMESPACE,
  SIGNIN_SERVICE,
  USER,
} from "./names";
import type { Homelab } from "./router";

export interface OperatorArgs {
  settings: Settings;
  homelab: Homelab;
  namespace: pulumi.Output<string>;
  serviceAccount: string;
  tokenChecksum: pulumi.Output<string>;
  dependsOn: pulumi.Resource[];
}

/**
 * The Cloudflare operator. The original runs it in the router's Pod; in a Deployment of its own, its account
 * has none of the router's rights, and its failures do not take the router from the network.
 */
export function makeOperator(args: OperatorArgs): k8s.apps.v1.Deployment {
  const { settings, homelab, namespace } = args;
  const probe = (path: string) => ({
    httpGet: { path, port: "health" },
    periodSeconds: 10,
    failureThreshold: 3,
  });
  return new k8s.apps.v1.Deployment(
    OPERATOR,
    {
      metadata: { name: OPERATOR, namespace, labels: LABELS },
      spec: {
        // Whoever holds the Lease writes, so a second one would only wait.
        replicas: 1,
        selector: { matchLabels: OPERATOR_LABELS },
        template: {
          metadata: { labels: OPERATOR_LABELS, annotations: { "checksum/secrets": args.tokenChecksum } },
          spec: {
            serviceAccountName: args.serviceAccount,
            imagePullSecrets: settings.pullSecretStore === undefined ? undefined : [{ name: PULL_SECRET }],
            enableServiceLinks: false,
            securityContext: {
              runAsNonRoot: true,
              runAsUser: USER,
              runAsGroup: USER,
              seccompProfile: { type: "RuntimeDefault" },
            },
            containers: [
              {
                name: "cloudflare-operator",
                image: settings.operatorImage,
                ports: [{ name: "health", containerPort: OPERATOR_HEALTH_PORT }],
                env: environment(settings, homelab),
                readinessProbe: probe("/readyz"),
                livenessProbe: probe("/livez"),
                securityContext: {
                  allowPrivilegeEscalation: false,
                  readOnlyRootFilesystem: true,
                  capabilities: { drop: ["ALL"] },
                },
                resources: { requests: { cpu: "50m", memory: "64Mi" }, limits: { memory: "128Mi" } },
              },
            ],
          },
        },
      },
    },
    { dependsOn: args.dependsOn },
  );
}

function environment(settings: Settings, homelab: Homelab): k8s.types.input.core.v1.EnvVar[] {
  const variables: Record<string, pulumi.Input<string>> = {
    CF_ZONE_ID: homelab.zoneId,
    CF_TUNNEL_ID: homelab.tunnelId,
    DOMAIN: homelab.domain,
    ROUTE_SUFFIX,
    ATTACH_ROUTE_PREFIX,
    ROUTES: settings.routes,
    // Traefik, not the router: requests must pass the sign-in.
    ROUTER_SERVICE_URL: `http://${settings.traefikService}.${settings.traefikNamespace}.svc.cluster.local:80`,
    WATCH_NAMESPACE: APP,
    INGRESSROUTE_NAMESPACE: APP,
    OAUTH2_CHAIN_MIDDLEWARE: CHAIN_MIDDLEWARE,
    ROUTER_SERVICE_NAME: APP,
    ATTACH_SERVICE_NAME: ATTACH_SERVICE,
    ATTACH_SERVICE_PORT: String(ATTACH_PORT),
    // The chain's own group. The original starts the sign-in of another one, which never ends.
    SIGNIN_SERVICE_NAME: SIGNIN_SERVICE,
    SIGNIN_SERVICE_NAMESPACE: SIGNIN_NAMESPACE,
    HEALTH_PORT: String(OPERATOR_HEALTH_PORT),
    LOG_FORMAT: "json",
  };
  return [
    { name: "CF_API_TOKEN", valueFrom: { secretKeyRef: { name: CLOUDFLARE_SECRET, key: "CF_API_TOKEN" } } },
    ...Object.entries(variables).map(([name, value]) => ({ name, value })),
  ];
}
