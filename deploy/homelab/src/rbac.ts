import * as k8s from "@pulumi/kubernetes";
import type * as pulumi from "@pulumi/pulumi";

import { APP, LABELS, OPERATOR } from "./names";

type Rule = k8s.types.input.rbac.v1.PolicyRule;

/** Exactly the verbs that the router uses: the Role of deploy/chart. */
const ROUTER: Rule[] = [
  rule("", "persistentvolumeclaims", ["get", "list", "watch", "create", "patch", "delete"]),
  rule("", "pods", ["get", "list", "watch", "create", "delete"]),
  rule("", "pods/log", ["get"]),
  rule("", "secrets", ["get", "create", "patch", "delete"]),
  rule("", "events", ["list", "watch"]),
  rule("coordination.k8s.io", "leases", ["get", "create", "update"]),
];

/** The chart's as well. The holder of the Cloudflare token reads no Secret, no Pod and no Middleware. */
const OPERATOR_RULES: Rule[] = [
  rule("", "persistentvolumeclaims", ["list", "watch"]),
  rule("traefik.io", "ingressroutes", ["list", "watch", "create", "patch", "delete"]),
  rule("coordination.k8s.io", "leases", ["create"]),
  {
    ...rule("coordination.k8s.io", "leases", ["get", "update"]),
    resourceNames: ["opencode-cloudflare-operator"],
  },
];

/** A service account with a Role in the namespace. */
export interface Account {
  name: string;
  all: pulumi.Resource[];
}

/** The router's account, under the original's names. */
export function makeRouterAccount(namespace: pulumi.Output<string>): Account {
  return account(APP, APP, ROUTER, namespace);
}

/** The operator's own account. */
export function makeOperatorAccount(namespace: pulumi.Output<string>): Account {
  return account(OPERATOR, OPERATOR, OPERATOR_RULES, namespace);
}

function account(
  logicalName: string,
  name: string,
  rules: Rule[],
  namespace: pulumi.Output<string>,
): Account {
  const metadata = { name, namespace, labels: LABELS };
  const serviceAccount = new k8s.core.v1.ServiceAccount(`${logicalName}-sa`, { metadata });
  const role = new k8s.rbac.v1.Role(`${logicalName}-role`, { metadata, rules });
  const binding = new k8s.rbac.v1.RoleBinding(
    `${logicalName}-rolebinding`,
    {
      metadata,
      roleRef: { apiGroup: "rbac.authorization.k8s.io", kind: "Role", name },
      subjects: [{ kind: "ServiceAccount", name, namespace }],
    },
    { dependsOn: [serviceAccount, role] },
  );
  return { name, all: [serviceAccount, role, binding] };
}

function rule(apiGroup: string, resource: string, verbs: string[]): Rule {
  return { apiGroups: [apiGroup], resources: [resource], verbs };
}
