/**
 * opencode-router on a homelab: docs/homelab.md is the walkthrough.
 *
 * - `config`: the stack's configuration · `names`: names and numbers that several files share
 * - `base`: namespace, Secrets, opencode's configuration · `models`, `opencode-config`: lists of models
 * - `rbac`, `policies`: who may do what, who reaches whom
 * - `router`: the router with its sign-in · `operator`: the Cloudflare operator
 */
import * as pulumi from "@pulumi/pulumi";

import { keyedDigest, makeConfigMap, makeNamespace, makePullSecret, makeSecrets, modelLists } from "./base";
import { readSettings } from "./config";
import { APP } from "./names";
import { makeOperator } from "./operator";
import { makePolicies } from "./policies";
import { makeOperatorAccount, makeRouterAccount } from "./rbac";
import { makeRouter } from "./router";

const settings = readSettings();
const stack = new pulumi.StackReference(settings.homelabStack);
const said = (name: string) => stack.requireOutput(name) as pulumi.Output<string>;
const homelab = {
  stack,
  domain: said("domain"),
  zoneId: said("cloudflareZoneId"),
  tunnelId: said("tunnelId"),
  tunnelCname: said("tunnelCname"),
};

const ns = makeNamespace();
const name = ns.metadata.name;
const secrets = makeSecrets(settings, name);
const lists = modelLists(settings);
const configMap = makeConfigMap(settings, lists, name);
const pullSecret =
  settings.pullSecretStore === undefined ? [] : [makePullSecret(settings.pullSecretStore, name)];
makePolicies(settings, name);

const routerAccount = makeRouterAccount(name);
const router = makeRouter({
  settings,
  homelab,
  namespace: ns,
  secrets,
  serviceAccount: routerAccount.name,
  dependsOn: [...routerAccount.all, ...secrets.all, ...pullSecret, configMap],
});

const operatorAccount = makeOperatorAccount(name);
makeOperator({
  settings,
  homelab,
  namespace: name,
  serviceAccount: operatorAccount.name,
  tokenChecksum: keyedDigest(secrets.proxySecret, settings.cloudflareToken),
  // After the router's Deployment, whose old Pods may hold the original's operator.
  dependsOn: [...operatorAccount.all, ...secrets.all, ...pullSecret, router.deployment],
});

export const app = APP;
export const url = pulumi.interpolate`https://${APP}.${homelab.domain}`;
export const namespace = name;
/** What the next deployment uses for a list that it cannot fetch. */
export const models = lists;
