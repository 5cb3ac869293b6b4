/**
 * What the original's stack has in the cluster, as far as names, kinds and immutable fields go: its resources
 * by type and logical name, with the name of the object. One that this program has under another name would
 * be deleted and created again, or not be found by what refers to it.
 */
export const ORIGINAL: [type: string, logicalName: string, objectName: string][] = [
  ["kubernetes:core/v1:Namespace", "code-ns", "code"],
  ["kubernetes:core/v1:ServiceAccount", "code-sa", "code"],
  ["kubernetes:rbac.authorization.k8s.io/v1:Role", "code-role", "code"],
  ["kubernetes:rbac.authorization.k8s.io/v1:RoleBinding", "code-rolebinding", "code"],
  ["kubernetes:core/v1:Secret", "code-api-keys", "opencode-api-keys"],
  ["kubernetes:core/v1:ConfigMap", "code-config", "opencode-config-dir"],
  ["kubernetes:external-secrets.io/v1beta1:ExternalSecret", "code-ghcr-pull-secret", "ghcr-pull-secret"],
  ["kubernetes:core/v1:Secret", "code-cf-credentials", "code-cf-credentials"],
  ["kubernetes:core/v1:Secret", "code-admin-secret", "code-admin-secret"],
  ["kubernetes:core/v1:Service", "code-attach", "code-attach"],
];

/** The children of its ExposedWebApp. */
export const ORIGINAL_APP: [type: string, logicalName: string, objectName: string][] = [
  ["kubernetes:apps/v1:Deployment", "code-deployment", "code"],
  ["kubernetes:core/v1:Service", "code-service", "code"],
  ["kubernetes:traefik.io/v1alpha1:Middleware", "code-oauth2-forwardauth", "code-oauth2-forwardauth"],
  ["kubernetes:traefik.io/v1alpha1:Middleware", "code-oauth2-errors", "code-oauth2-errors"],
  ["kubernetes:traefik.io/v1alpha1:Middleware", "code-oauth2-chain", "code-oauth2-chain"],
  ["kubernetes:traefik.io/v1alpha1:IngressRoute", "code-oauth2-signin-route", "code-oauth2-signin"],
  ["kubernetes:traefik.io/v1alpha1:IngressRoute", "code-oauth2-app-route", "code-oauth2-app"],
];

/** What this program has besides. */
export const NEW: [type: string, logicalName: string, objectName: string][] = [
  ["kubernetes:core/v1:Secret", "code-proxy-secret", "code-proxy-secret"],
  ["kubernetes:traefik.io/v1alpha1:Middleware", "code-proxy-secret-middleware", "code-proxy-secret"],
  ["kubernetes:core/v1:Service", "code-reports", "code-reports"],
  ["kubernetes:policy/v1:PodDisruptionBudget", "code-pdb", "code"],
  ["kubernetes:networking.k8s.io/v1:NetworkPolicy", "code-policy", "code"],
  ["kubernetes:networking.k8s.io/v1:NetworkPolicy", "code-sessions-policy", "code-sessions"],
  [
    "kubernetes:networking.k8s.io/v1:NetworkPolicy",
    "code-cloudflare-operator-policy",
    "code-cloudflare-operator",
  ],
  ["kubernetes:core/v1:ServiceAccount", "code-cloudflare-operator-sa", "code-cloudflare-operator"],
  [
    "kubernetes:rbac.authorization.k8s.io/v1:Role",
    "code-cloudflare-operator-role",
    "code-cloudflare-operator",
  ],
  [
    "kubernetes:rbac.authorization.k8s.io/v1:RoleBinding",
    "code-cloudflare-operator-rolebinding",
    "code-cloudflare-operator",
  ],
  ["kubernetes:apps/v1:Deployment", "code-cloudflare-operator", "code-cloudflare-operator"],
];

/** Its objects, from what is known of its program: what an API server compares when they are changed. */
export function originalManifests(): object[] {
  const metadata = (name: string) => ({ name, namespace: "code", labels: { app: "code" } });
  const restricted = {
    allowPrivilegeEscalation: false,
    runAsNonRoot: true,
    capabilities: { drop: ["ALL"] },
    seccompProfile: { type: "RuntimeDefault" },
  };
  const traefik = (kind: string, name: string, spec: object) => ({
    apiVersion: "traefik.io/v1alpha1",
    kind,
    metadata: { name, namespace: "code" },
    spec,
  });
  const secret = (name: string, key: string) => ({
    apiVersion: "v1",
    kind: "Secret",
    metadata: metadata(name),
    type: "Opaque",
    stringData: { [key]: "text" },
  });
  const level = (mode: string) => ({
    [`pod-security.kubernetes.io/${mode}`]: "restricted",
    [`pod-security.kubernetes.io/${mode}-version`]: "latest",
  });
  const health = { httpGet: { path: "/healthz", port: 8080 } };
  const api = {
    httpGet: {
      path: "/api/sessions",
      port: 3000,
      httpHeaders: [{ name: "X-Auth-Request-Email", value: "a@b" }],
    },
  };
  return [
    {
      apiVersion: "v1",
      kind: "Namespace",
      metadata: { name: "code", labels: { app: "code", ...level("enforce"), ...level("warn") } },
    },
    { apiVersion: "v1", kind: "ServiceAccount", metadata: metadata("code") },
    {
      apiVersion: "rbac.authorization.k8s.io/v1",
      kind: "Role",
      metadata: metadata("code"),
      rules: [
        {
          apiGroups: [""],
          resources: ["pods"],
          verbs: ["get", "list", "watch", "create", "delete", "patch"],
        },
        {
          apiGroups: [""],
          resources: ["persistentvolumeclaims"],
          verbs: ["get", "list", "watch", "create", "delete"],
        },
        { apiGroups: [""], resources: ["secrets"], verbs: ["get", "create", "update", "patch", "delete"] },
        { apiGroups: [""], resources: ["configmaps"], verbs: ["get", "create", "delete"] },
        {
          apiGroups: ["traefik.io"],
          resources: ["ingressroutes"],
          verbs: ["get", "list", "create", "delete"],
        },
      ],
    },
    {
      apiVersion: "rbac.authorization.k8s.io/v1",
      kind: "RoleBinding",
      metadata: metadata("code"),
      roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "Role", name: "code" },
      subjects: [{ kind: "ServiceAccount", name: "code", namespace: "code" }],
    },
    secret("opencode-api-keys", "OPENROUTER_API_KEY"),
    secret("code-cf-credentials", "CF_API_TOKEN"),
    secret("code-admin-secret", "ADMIN_SECRET"),
    {
      apiVersion: "v1",
      kind: "ConfigMap",
      metadata: metadata("opencode-config-dir"),
      data: { "opencode.json": "{}", ".env": "" },
    },
    {
      apiVersion: "apps/v1",
      kind: "Deployment",
      metadata: { name: "code", namespace: "code", labels: { app: "code", environment: "dev" } },
      spec: {
        replicas: 1,
        selector: { matchLabels: { app: "code" } },
        template: {
          metadata: { labels: { app: "code" } },
          spec: {
            serviceAccountName: "code",
            imagePullSecrets: [{ name: "ghcr-pull-secret" }],
            securityContext: { runAsNonRoot: true, runAsUser: 1000, runAsGroup: 1000, fsGroup: 1000 },
            containers: [
              {
                name: "app",
                image: "ghcr.io/mrsimpson/opencode-router:latest",
                ports: [{ name: "http", containerPort: 3000 }],
                env: [{ name: "ADMIN_SECRET", value: "text" }],
                readinessProbe: api,
                livenessProbe: api,
                securityContext: restricted,
              },
              {
                name: "cloudflare-operator",
                image: "ghcr.io/mrsimpson/opencode-cloudflare-operator:latest",
                readinessProbe: health,
                livenessProbe: health,
                securityContext: restricted,
              },
            ],
          },
        },
      },
    },
    {
      apiVersion: "v1",
      kind: "Service",
      metadata: { name: "code", namespace: "code" },
      spec: {
        type: "ClusterIP",
        selector: { app: "code" },
        ports: [{ name: "http", port: 80, targetPort: 3000 }],
      },
    },
    {
      apiVersion: "v1",
      kind: "Service",
      metadata: metadata("code-attach"),
      spec: { selector: { app: "code" }, ports: [{ name: "attach", port: 4096, targetPort: 4096 }] },
    },
    traefik("Middleware", "code-oauth2-chain", {
      chain: { middlewares: [{ name: "code-oauth2-errors" }, { name: "code-oauth2-forwardauth" }] },
    }),
    traefik("IngressRoute", "code-oauth2-app", {
      entryPoints: ["web"],
      routes: [
        {
          kind: "Rule",
          match: "Host(`code.example.com`)",
          priority: 1,
          middlewares: [{ name: "code-oauth2-chain", namespace: "code" }],
          services: [{ name: "code", port: 80 }],
        },
      ],
    }),
  ];
}
