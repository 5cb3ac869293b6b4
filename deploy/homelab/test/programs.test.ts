/** The programs (ROUTER_BIN, OPERATOR_BIN) accept the variables that their Deployments give them. */
import assert from "node:assert/strict";
import { spawnSync } from "node:child_process";
import { test } from "node:test";

import { type Ran, run } from "./program";
import { CONFIGURATIONS } from "./render";

const PROGRAMS = { ROUTER_BIN: "code-deployment", OPERATOR_BIN: "code-cloudflare-operator" };

/** The variables of a Deployment's container, with a text in place of what the cluster fills in. */
function environment(ran: Ran, deployment: string): Record<string, string> {
  const { inputs } = ran.resources.get(`apps/v1:Deployment/${deployment}`) ?? assert.fail(deployment);
  const [{ env }] = inputs.spec.template.spec.containers;
  return Object.fromEntries(env.map(({ name, value }: any) => [name, value ?? "0123456789abcdef"]));
}

for (const [variable, deployment] of Object.entries(PROGRAMS)) {
  const program = process.env[variable];
  const skip = program === undefined && `${variable} names no program`;
  for (const [name, config] of Object.entries(CONFIGURATIONS)) {
    test(`the program of ${deployment} accepts its variables (${name})`, { skip }, async () => {
      const env = environment(await run(config), deployment);
      const check = (env: Record<string, string>) =>
        spawnSync(program ?? "", ["--check-config"], { env, encoding: "utf8" });
      const { status, stdout, stderr } = check(env);
      assert.equal(status, 0, stderr);
      // Each one is known, and comes from the Deployment.
      for (const name of Object.keys(env))
        assert.match(stdout, new RegExp(`^${name}=.*\\benvironment\\b`, "m"));
      assert.notEqual(check({ ...env, ROUTE_SUFFIX: "-oc-" }).status, 0);
    });
  }
}
