// Tests of a release's chart: packaged and pushed by the workflow's own scripts, to a real registry on
// loopback. Run by: tests/cluster/run delivery

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { fileURLToPath } from "node:url";
import { cleanUp, startRegistry } from "./world.mjs";

const root = fileURLToPath(new URL("../..", import.meta.url));
const scratch = mkdtempSync(join(tmpdir(), "opencode-delivery-chart-"));
after(async () => {
  await cleanUp();
  rmSync(scratch, { recursive: true, force: true });
});

test("A release's chart is in the registry under its version and the digest that is attested", async () => {
  const { host } = await startRegistry();
  const run = (script, args, env) => execFileSync(join(root, "scripts/ci", script), args, { encoding: "utf8", env: { ...process.env, GITHUB_OUTPUT: "", ...env } });
  run("package-chart.sh", ["1.2.3", scratch], { GITHUB_REPOSITORY_OWNER: "Acme" });
  const pushed = run("push-chart.sh", [join(scratch, "opencode-router-1.2.3.tgz")], { CHART_REGISTRY: `${host}/acme/charts`, HELM_REGISTRY_CONFIG: join(scratch, "login.json") });
  const [, digest] = pushed.match(new RegExp(`^name=${host}/acme/charts/opencode-router\ndigest=(sha256:[0-9a-f]{64})\n$`)) ?? assert.fail(pushed);

  const response = await fetch(`http://${host}/v2/acme/charts/opencode-router/manifests/1.2.3`, { headers: { accept: "application/vnd.oci.image.manifest.v1+json" } });
  assert.equal(response.headers.get("docker-content-digest"), digest);
  const { config, annotations } = await response.json();
  assert.equal(config.mediaType, "application/vnd.cncf.helm.config.v1+json");
  assert.equal(annotations["org.opencontainers.image.version"], "1.2.3");
});
