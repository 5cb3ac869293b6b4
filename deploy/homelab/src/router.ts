import {
  AuthType,
  createHomelabContextFromStack,
  type ExposedWebApp,
} from "@mrsimpson/homelab-core-components";
import * as k8s from "@pulumi/kubernetes";
import * as pulumi from "@pulumi/pulumi";

import type { Secrets } from "./base";
import type { Settings } from "./config";
import {
  ADMIN_SECRET,
  API_KEYS_SECRET,
  APP,
  ATTACH_PORT,
  ATTACH_ROUTE_PREFIX,
  ATTACH_SERVICE,
  CHAIN_MIDDLEWARE,
  CONFIG_MAP,
  HEALTH_PORT,
  HTTP_PORT,
  LABELS,
  PROXY_SECRET,
  PROXY_SECRET_MIDDLEWARE,
  PULL_SECRET,
  REPORT_PORT,
  REPORT_SERVICE,
  ROUTE_SUFFIX,
  SIGNIN_COOKIES,
  SIGNIN_GROUP,
  SIGNIN_NAMESPACE,
  USER,
} from "./names";

/** What the base stack says. */
export interface Homelab {
  stack: pulumi.StackReference;
  domain: pulumi.Output<string>;
  zoneId: pulumi.Output<string>;
  tunnelId: pulumi.Output<string>;
  tunnelCname: pulumi.Output<string>;
}

export interface RouterArgs {
  settings: Settings;
  homelab: Homelab;
  namespace: k8s.core.v1.Namespace;
  secrets: Secrets;
  serviceAccount: string;
  dependsOn: pulumi.Resource[];
}

/** The router with its Service, sign-in and routes. */
export function makeRouter(args: RouterArgs): ExposedWebApp {
  const { settings, homelab, namespace, secrets } = args;
  const proxySecret = makeProxySecretMiddleware(namespace.metadata.name, secrets.proxySecret);
  // ExposedWebApp would make the pull secret too, but as a child of its own: for Pulumi another object than
  // the original's, under the same name. So the component is not told about it, and `harden` names it.
  const app = createHomelabContextFromStack(homelab.stack).createExposedWebApp(
    APP,
    {
      image: settings.routerImage,
      domain: pulumi.interpolate`${APP}.${homelab.domain}`,
      port: HTTP_PORT,
      replicas: settings.replicas,
      namespace,
      serviceAccountName: args.serviceAccount,
      auth: AuthType.OAUTH2_PROXY,
      oauth2Proxy: { group: SIGNIN_GROUP, namespace: SIGNIN_NAMESPACE },
      // Version 0.1 of the component made this record unasked. Without it, the original's would be deleted.
      cloudflare: { zoneId: homelab.zoneId, tunnelCname: homelab.tunnelCname },
      securityContext: { runAsUser: USER, runAsGroup: USER, fsGroup: USER },
      resources: { requests: { cpu: "100m", memory: "128Mi" }, limits: { memory: "512Mi" } },
      env: environment(settings, homelab) as { name: string; value: string }[],
      probes: {
        readinessProbe: { httpGet: { path: "/readyz", port: "health" }, periodSeconds: 2 },
        livenessProbe: {
          httpGet: { path: "/livez", port: "health" },
          periodSeconds: 10,
          failureThreshold: 6,
        },
      },
    },
    { dependsOn: args.dependsOn, transformations: [harden(args, proxySecret)] },
  );
  new k8s.core.v1.Service(ATTACH_SERVICE, {
    metadata: { name: ATTACH_SERVICE, namespace: namespace.metadata.name, labels: LABELS },
    spec: { selector: LABELS, ports: [{ name: "attach", port: ATTACH_PORT, targetPort: ATTACH_PORT }] },
  });
  new k8s.core.v1.Service(REPORT_SERVICE, {
    metadata: { name: REPORT_SERVICE, namespace: namespace.metadata.name, labels: LABELS },
    spec: { selector: LABELS, ports: [{ name: "reports", port: REPORT_PORT, targetPort: REPORT_PORT }] },
  });
  new k8s.policy.v1.PodDisruptionBudget(`${APP}-pdb`, {
    metadata: { name: APP, namespace: namespace.metadata.name, labels: LABELS },
    spec: { maxUnavailable: 1, selector: { matchLabels: LABELS } },
  });
  return app;
}

type Variable = { name: string; value?: pulumi.Input<string>; valueFrom?: object };

function environment(settings: Settings, homelab: Homelab): Variable[] {
  const variables: Record<string, pulumi.Input<string> | undefined> = {
    BACKEND: "kubernetes",
    OPENCODE_NAMESPACE: APP,
    LISTEN_ADDRESS: "0.0.0.0",
    PORT: String(HTTP_PORT),
    ATTACH_PORT: String(ATTACH_PORT),
    HEALTH_PORT: String(HEALTH_PORT),
    REPORT_PORT: String(REPORT_PORT),
    OPENCODE_ROUTER_URL: `http://${REPORT_SERVICE}.${APP}.svc:${REPORT_PORT}`,
    ROUTER_DOMAIN: homelab.domain,
    SITE_HOST: pulumi.interpolate`${APP}.${homelab.domain}`,
    ROUTE_SUFFIX,
    ATTACH_ROUTE_PREFIX,
    IDENTITY: "headers",
    AUTH_COOKIE_NAMES: SIGNIN_COOKIES,
    OPENCODE_IMAGE: settings.sessionImage,
    CHROMIUM_IMAGE: settings.chromiumImage,
    IMAGE_PULL_SECRET_NAME: settings.pullSecretStore === undefined ? undefined : PULL_SECRET,
    API_KEY_SECRET_NAME: API_KEYS_SECRET,
    CONFIG_MAP_NAME: CONFIG_MAP,
    STORAGE_CLASS: settings.storageClass,
    STORAGE_SIZE: settings.storageSize,
    DEFAULT_GIT_REPO: settings.defaultGitRepo,
    IDLE_TIMEOUT_MINUTES: settings.idleTimeoutMinutes?.toString(),
    LOG_FORMAT: "json",
    ...settings.routerEnv,
  };
  const secret = (name: string, from: string) => ({
    name,
    valueFrom: { secretKeyRef: { name: from, key: name } },
  });
  return [
    { name: "POD_NAME", valueFrom: { fieldRef: { fieldPath: "metadata.name" } } },
    secret("TRUSTED_PROXY_SECRET", PROXY_SECRET),
    secret("ADMIN_SECRET", ADMIN_SECRET),
    ...Object.entries(variables).flatMap(([name, value]) => (value === undefined ? [] : [{ name, value }])),
  ];
}

/** The Middleware that makes the router believe what Traefik says about the user. */
function makeProxySecretMiddleware(
  namespace: pulumi.Output<string>,
  secret: pulumi.Output<string>,
): k8s.apiextensions.CustomResource {
  return new k8s.apiextensions.CustomResource(`${PROXY_SECRET_MIDDLEWARE}-middleware`, {
    apiVersion: "traefik.io/v1alpha1",
    kind: "Middleware",
    metadata: { name: PROXY_SECRET_MIDDLEWARE, namespace, labels: LABELS },
    spec: {
      headers: {
        customRequestHeaders: {
          "X-Router-Proxy-Secret": secret,
          // The router reads a user's token from these as well, and ForwardAuth does not replace what a
          // client sends under these names. An empty text removes the header.
          "X-Auth-Request-Token": "",
          "X-Forwarded-Access-Token": "",
        },
      },
    },
  });
}

/**
 * What a sign-in needs at the site; its callback is at another host. `/oauth2/auth`, and every path that
 * oauth2-proxy does not know, show the user's token. So files are spelled out as well: oauth2-proxy would
 * take `/oauth2/static/%2e%2e/auth` for `/oauth2/auth`.
 */
const SIGNIN_PATHS = String.raw`^/oauth2/(start|sign_in|sign_out|static/(css|webfonts)/[a-z0-9-]+(\.[a-z0-9]+)+)$`;

/**
 * Changes what ExposedWebApp makes and takes no argument for. The component's version is pinned, and the
 * tests assert each change, since one that is silently lost would be a hole.
 */
function harden(
  { settings, secrets }: RouterArgs,
  proxySecret: pulumi.Resource,
): pulumi.ResourceTransformation {
  return ({ type, name, props, opts }) => {
    if (type === "kubernetes:apps/v1:Deployment") {
      const { template } = props.spec;
      props.spec.strategy = { type: "RollingUpdate", rollingUpdate: { maxSurge: 1, maxUnavailable: 0 } };
      template.metadata.annotations = { "checksum/secrets": secrets.checksum };
      Object.assign(template.spec, {
        imagePullSecrets: settings.pullSecretStore === undefined ? undefined : [{ name: PULL_SECRET }],
        enableServiceLinks: false,
        // The router's SHUTDOWN_DELAY_SECONDS (5) and DRAIN_TIMEOUT_SECONDS (10), with time to spare.
        terminationGracePeriodSeconds: 30,
        topologySpreadConstraints: [
          {
            maxSkew: 1,
            topologyKey: "kubernetes.io/hostname",
            whenUnsatisfiable: "ScheduleAnyway",
            labelSelector: { matchLabels: LABELS },
          },
        ],
      });
      template.spec.securityContext.seccompProfile = { type: "RuntimeDefault" };
      const [container] = template.spec.containers;
      container.ports.push(
        { name: "attach", containerPort: ATTACH_PORT },
        { name: "health", containerPort: HEALTH_PORT },
        { name: "reports", containerPort: REPORT_PORT },
      );
      container.securityContext.readOnlyRootFilesystem = true;
      return { props, opts };
    }
    if (name === CHAIN_MIDDLEWARE) {
      // Last, so that neither the sign-in nor its pages get the secret.
      props.spec.chain.middlewares.push({ name: PROXY_SECRET_MIDDLEWARE });
      // Traefik answers 404 for a route whose Middleware does not exist.
      return { props, opts: pulumi.mergeOptions(opts, { dependsOn: [proxySecret] }) };
    }
    if (name === `${APP}-oauth2-signin-route`) {
      const [route] = props.spec.routes;
      const host = pulumi
        .output(route.match as pulumi.Input<string>)
        .apply((match) => match.split(" && ")[0]);
      route.match = pulumi.interpolate`${host} && PathRegexp(\`${SIGNIN_PATHS}\`)`;
      route.priority = SITE_PRIORITY + 1;
      return { props, opts };
    }
    if (name === `${APP}-oauth2-app-route`) {
      props.spec.routes[0].priority = SITE_PRIORITY;
      return { props, opts };
    }
    return undefined;
  };
}

/**
 * Above what any rule has by its length. With the original's 1, a route for `*.<domain>` of anybody in the
 * cluster would take the site.
 */
const SITE_PRIORITY = 1000;
