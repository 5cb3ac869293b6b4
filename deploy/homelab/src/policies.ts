import * as k8s from "@pulumi/kubernetes";
import type * as pulumi from "@pulumi/pulumi";

import type { Settings } from "./config";
import { APP, LABELS, OPERATOR, OPERATOR_LABELS, SESSION_HASH_LABEL } from "./names";

/** Private and reserved networks, and the metadata services of clouds: those of deploy/chart. */
const PRIVATE_V4 = [
  "10.0.0.0/8",
  "172.16.0.0/12",
  "192.168.0.0/16",
  "100.64.0.0/10",
  "169.254.0.0/16",
  "168.63.129.16/32",
  "192.0.0.0/24",
  "198.18.0.0/15",
  "240.0.0.0/4",
];
const PRIVATE_V6 = ["fc00::/7", "fe80::/10"];

/** Who reaches whom. The network plugin must enforce NetworkPolicies: k3s does, unless told not to. */
export function makePolicies(settings: Settings, namespace: pulumi.Output<string>): void {
  const policy = (name: string, spec: k8s.types.input.networking.v1.NetworkPolicySpec) =>
    new k8s.networking.v1.NetworkPolicy(`${name}-policy`, {
      metadata: { name, namespace, labels: LABELS },
      spec,
    });
  const inNamespace = (name: string) => ({
    namespaceSelector: { matchLabels: { "kubernetes.io/metadata.name": name } },
  });
  const metrics =
    settings.metricsNamespace === undefined
      ? []
      : [{ ports: [{ port: "health" }], from: [inNamespace(settings.metricsNamespace)] }];

  // Sessions: only the router reaches them; they reach neither each other nor anything private, except the
  // port on which the router accepts their reports.
  policy(`${APP}-sessions`, {
    podSelector: { matchExpressions: [{ key: SESSION_HASH_LABEL, operator: "Exists" }] },
    policyTypes: ["Ingress", "Egress"],
    ingress: [{ from: [{ podSelector: { matchLabels: LABELS } }] }],
    egress: [
      {
        ports: [
          { port: 53, protocol: "UDP" },
          { port: 53, protocol: "TCP" },
        ],
        to: [inNamespace("kube-system")],
      },
      { ports: [{ port: "reports", protocol: "TCP" }], to: [{ podSelector: { matchLabels: LABELS } }] },
      {
        to: [
          { ipBlock: { cidr: "0.0.0.0/0", except: PRIVATE_V4 } },
          { ipBlock: { cidr: "::/0", except: PRIVATE_V6 } },
        ],
      },
      ...settings.sessionsEgress.map(({ cidr, port }) => ({
        to: [{ ipBlock: { cidr } }],
        ports: port === undefined ? undefined : [{ port, protocol: "TCP" }],
      })),
    ],
  });
  // The router: Traefik reaches the site, the sessions and the attach listener, sessions the port for their
  // reports; kubelet's probes always may.
  policy(APP, {
    podSelector: { matchLabels: LABELS },
    policyTypes: ["Ingress"],
    ingress: [
      { ports: [{ port: "http" }, { port: "attach" }], from: [inNamespace(settings.traefikNamespace)] },
      {
        ports: [{ port: "reports" }],
        from: [{ podSelector: { matchExpressions: [{ key: SESSION_HASH_LABEL, operator: "Exists" }] } }],
      },
      ...metrics,
    ],
  });
  // The operator: nobody.
  policy(OPERATOR, {
    podSelector: { matchLabels: OPERATOR_LABELS },
    policyTypes: ["Ingress"],
    ingress: metrics,
  });
}
