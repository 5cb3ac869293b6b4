// Images are built by make, pushed to a real registry, and deployed only from there. Linux, root, buildah;
// `make test-cluster PARTS=delivery` runs it.

import assert from "node:assert/strict";
import { existsSync, writeFileSync } from "node:fs";
import { arch } from "node:os";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { buildah, checkout, cleanUp, fakePulumi, make, owner, removeImages, run, startRegistry } from "./world.mjs";

/** User `ci`, password `right` (bcrypt, the only kind that the registry takes). */
const HTPASSWD = "ci:$2b$05$abcdefghijklmnopqrstuu8xaCxxL82bnl.UY74PMksDxIJShppPC\n";

after(async () => {
  await cleanUp();
  removeImages();
});

const registry = await startRegistry();
const where = (host = registry.host) => ({ REGISTRY: host, GHCR_USER: owner });

async function manifest(image) {
  const [, host, name, tag] = /^([^/]+)\/(.*):([^:]+)$/.exec(image);
  return fetch(`http://${host}/v2/${name}/manifests/${tag}`, { headers: { accept: "application/vnd.oci.image.manifest.v1+json, application/vnd.oci.image.index.v1+json" } });
}

function names(host, commit) {
  const tags = { "opencode-router": "1.2.3", "opencode-cloudflare-operator": "1.2.3", "opencode-session": "9.8.7" };
  return Object.entries(tags).map(([name, version]) => `${host}/${owner}/${name}:${version}-local.${commit}`);
}

describe("Delivery", () => {
  test("A pushed image is in the registry under its tag, and pulling it gives the same image", async () => {
    const { root, commit } = checkout();
    const { status, stdout, stderr } = make(root, ["push"], { env: where() });
    assert.equal(status, 0, stderr);
    for (const image of names(registry.host, commit)) {
      const printed = stdout.split("\n").find((line) => line.startsWith(`${image}@sha256:`));
      assert.ok(printed, `${image} with its digest in:\n${stdout}`);
      const response = await manifest(image);
      assert.equal(response.status, 200);
      assert.equal(`${image}@${response.headers.get("docker-content-digest")}`, printed);
      const built = buildah("inspect", "--type", "image", "--format", "{{.FromImageID}}", image);
      buildah("rmi", "--force", image);
      buildah("pull", "--quiet", "--tls-verify=false", `docker://${printed.replace(/:[^:@/]+@/, "@")}`);
      assert.equal(buildah("pull", "--quiet", "--tls-verify=false", `docker://${image}`), built);
      // Nothing but a release is `latest`.
      assert.equal((await manifest(image.replace(/:[^:/]+$/, ":latest"))).status, 404);
    }
  });

  test("An image says which version and commit it was built from", () => {
    const { root, commit } = checkout();
    const { status, stdout, stderr } = run(root, "scripts/build-image.sh", [], { env: where() });
    assert.equal(status, 0, stderr);
    assert.equal(stdout.trim(), `${registry.host}/${owner}/opencode-router:1.2.3-local.${commit}`);
    const { OCIv1: { config } } = JSON.parse(buildah("inspect", "--type", "image", stdout.trim()));
    assert.equal(config.Labels["org.opencontainers.image.version"], `1.2.3-local.${commit}`);
    assert.match(config.Labels["org.opencontainers.image.revision"], new RegExp(`^${commit}`));
  });

  test("A deployment of pushed images configures and updates the stack", () => {
    const { root, commit } = checkout();
    const pulumi = fakePulumi();
    const { status, stderr } = make(root, ["release", "STACK_NAME=team"], { env: where(), path: pulumi.path });
    assert.equal(status, 0, stderr);
    const [router, operator, session] = names(registry.host, commit);
    assert.deepEqual(pulumi.calls(), [
      `config set --stack team code:routerImage ${router}`,
      `config set --stack team code:cfOperatorImage ${operator}`,
      `config set --stack team code:opencodeImage ${session}`,
      "up --stack team --yes",
    ]);
  });

  test("A deployment is refused if one image is not in the registry, and changes nothing", () => {
    const { root, commit } = checkout();
    const pulumi = fakePulumi();
    // Every other image is there: a commit of the same content has the same images, not the same tags.
    writeFileSync(join(root, "content"), `${commit} alone\n`);
    run(root, "git", ["-c", "user.name=t", "-c", "user.email=t@example.test", "commit", "--quiet", "--all", "--message", "second"]);
    for (const target of ["push-router", "push-session"]) assert.equal(make(root, [target], { env: where() }).status, 0);
    const { status, stderr } = make(root, ["deploy"], { env: where(), path: pulumi.path });
    assert.notEqual(status, 0);
    assert.match(stderr, /opencode-cloudflare-operator:1\.2\.3-local\.\w+ is not in the registry\. Push it first/);
    assert.deepEqual(pulumi.calls(), []);
  });

  test("Other images can be deployed by name; they, too, must be in the registry", () => {
    const { root } = checkout();
    const pulumi = fakePulumi();
    assert.equal(run(root, "scripts/build-image.sh", ["--push", "--revision", "7"], { env: where() }).status, 0);
    const image = `${registry.host}/${owner}/opencode-router:1.2.3-homelab.7`;
    const named = { ROUTER_IMAGE: image, OPERATOR_IMAGE: image, SESSION_IMAGE: image };
    const deployed = make(root, ["deploy"], { env: named, path: pulumi.path });
    assert.equal(deployed.status, 0, deployed.stderr);
    assert.equal(pulumi.calls().length, 4);
    const missing = make(root, ["deploy"], { env: { ...named, SESSION_IMAGE: `${image}8` }, path: pulumi.path });
    assert.notEqual(missing.status, 0);
    assert.equal(pulumi.calls().length, 4);
  });

  test("An image of uncommitted changes is not deployed unless somebody insists", () => {
    const { root } = checkout();
    const pulumi = fakePulumi();
    writeFileSync(join(root, "content"), "changed\n");
    assert.equal(make(root, ["push"], { env: where() }).status, 0);
    const refused = make(root, ["deploy"], { env: where(), path: pulumi.path });
    assert.notEqual(refused.status, 0);
    assert.match(refused.stderr, /uncommitted changes .* ALLOW_DIRTY=1/);
    assert.deepEqual(pulumi.calls(), []);
    const forced = make(root, ["deploy", "ALLOW_DIRTY=1"], { env: where(), path: pulumi.path });
    assert.equal(forced.status, 0, forced.stderr);
    assert.match(pulumi.calls()[0], /\.dirty$/);
  });

  test("A preview changes nothing, and shows named images", () => {
    const { root } = checkout();
    const pulumi = fakePulumi();
    assert.equal(make(root, ["preview"], { path: pulumi.path }).status, 0);
    assert.equal(make(root, ["preview"], { path: pulumi.path, env: { SESSION_IMAGE: "ghcr.io/acme/s:1" } }).status, 0);
    assert.deepEqual(pulumi.calls(), ["preview --stack dev --diff", "preview --stack dev --diff --config code:opencodeImage=ghcr.io/acme/s:1"]);
  });

  test("Destroying asks for the stack's name first", () => {
    const { root } = checkout();
    const pulumi = fakePulumi();
    for (const input of ["", "yes\n", "other\n"]) {
      const { status, stderr } = make(root, ["destroy", "STACK_NAME=team"], { path: pulumi.path, input });
      assert.notEqual(status, 0);
      assert.match(stderr, /work that nobody has committed[^]*Nothing was removed/);
    }
    assert.deepEqual(pulumi.calls(), []);
    assert.equal(make(root, ["destroy", "STACK_NAME=team"], { path: pulumi.path, input: "team\n" }).status, 0);
    assert.deepEqual(pulumi.calls(), ["destroy --stack team"]);
  });

  test("The last updates of the stack are shown", () => {
    const { root } = checkout();
    const pulumi = fakePulumi();
    assert.equal(make(root, ["logs"], { path: pulumi.path }).status, 0);
    assert.deepEqual(pulumi.calls(), ["stack history --stack dev --page-size 10"]);
  });

  test("A registry with a login takes the right password only, which no command line shows", async () => {
    const closed = await startRegistry({ htpasswd: HTPASSWD });
    const { root, commit } = checkout();
    const push = (env) => run(root, "scripts/build-image.sh", ["--push"], { env: { ...where(closed.host), ...env } });
    const none = push({});
    assert.notEqual(none.status, 0);
    assert.match(none.stderr, /could not be pushed .* set REGISTRY_USER and REGISTRY_PASSWORD/);
    const wrong = push({ REGISTRY_USER: "ci", REGISTRY_PASSWORD: "wrong" });
    assert.notEqual(wrong.status, 0);
    assert.match(wrong.stderr, /refused the login as ci/);
    const right = push({ REGISTRY_USER: "ci", REGISTRY_PASSWORD: "right" });
    assert.equal(right.status, 0, right.stderr);
    assert.doesNotMatch(right.stderr + right.stdout, /right/);

    // The check before a deployment uses the same login, given or kept.
    const image = names(closed.host, commit)[0];
    const has = (env) => run(root, "node", ["scripts/registry-has.mjs", image], { env });
    assert.equal(has({ REGISTRY_USER: "ci", REGISTRY_PASSWORD: "right" }).status, 0);
    assert.equal(has({ REGISTRY_USER: "ci", REGISTRY_PASSWORD: "wrong" }).status, 2);
    assert.equal(has({}).status, 0, "the login that buildah keeps");
    assert.equal(has({ REGISTRY_AUTH_FILE: join(root, "none") }).status, 2);
  });

  test("A registry that is gone fails push and deployment with a sentence", async () => {
    const gone = await startRegistry();
    await gone.stop();
    const { root } = checkout();
    const pulumi = fakePulumi();
    const pushed = run(root, "scripts/build-image.sh", ["--push"], { env: where(gone.host) });
    assert.notEqual(pushed.status, 0);
    assert.match(pushed.stderr, /could not be pushed to 127/);
    const deployed = make(root, ["deploy"], { env: where(gone.host), path: pulumi.path });
    assert.notEqual(deployed.status, 0);
    assert.match(deployed.stderr, /could not be reached/);
    assert.deepEqual(pulumi.calls(), []);
  });

  test("Wrong options are refused with a sentence", () => {
    const { root } = checkout();
    for (const [args, env, message] of [
      [["--image", "web"], {}, /no image named web/],
      [["--push"], { GHCR_USER: "" }, /Name the owner/],
      [["--token", "x"], {}, /GITHUB_PAT/],
      [["--tag", "a b"], {}, /not a valid tag/],
      [["--tag"], {}, /needs a value/],
      [["--platform", "linux/riscv64"], {}, /choose linux\/amd64/],
      [["--frobnicate"], {}, /knows no option/],
      [[], { CONTAINER_TOOL: "rkt" }, /CONTAINER_TOOL=rkt/],
      [[], { CONTAINER_TOOL: "", PATH: "/nonexistent" }, /.*/],
    ]) {
      const { status, stdout, stderr } = run(root, "/bin/bash", ["scripts/build-image.sh", ...args], { env });
      assert.notEqual(status, 0, `${args}`);
      assert.match(stderr, message);
      assert.equal(stdout, "");
    }
    for (const goal of ["push", "deploy"]) {
      const { status, stderr } = make(root, [goal], { path: fakePulumi().path });
      assert.notEqual(status, 0);
      assert.match(stderr, /Name the owner/);
    }
  });

  const other = arch() === "arm64" ? ["linux/amd64", "qemu-x86_64"] : ["linux/arm64", "qemu-aarch64"];
  const canEmulate = existsSync(`/proc/sys/fs/binfmt_misc/${other[1]}`);

  test("Without an emulator, another processor's image is refused with what helps", { skip: canEmulate && "an emulator is here" }, () => {
    const { root } = checkout();
    const { status, stderr } = run(root, "scripts/build-image.sh", ["--platform", "linux/amd64,linux/arm64"], { env: where() });
    assert.notEqual(status, 0);
    assert.match(stderr, /cannot build for .*qemu-user-static/);
  });

  // Images without a program need no emulator to be built: what is tested is the list of both.
  test("One tag holds the images of both processors", async () => {
    const { root, commit } = checkout();
    const env = { ...where(), ASSUME_EMULATOR: "1" };
    const { status, stdout, stderr } = run(root, "scripts/build-image.sh", ["--push", "--platform", "linux/amd64,linux/arm64"], { env });
    assert.equal(status, 0, stderr);
    const response = await manifest(names(registry.host, commit)[0]);
    const index = await response.json();
    assert.deepEqual(index.manifests.map(({ platform }) => platform.architecture).sort(), ["amd64", "arm64"]);
    assert.ok(stdout.trim().endsWith(`@${response.headers.get("docker-content-digest")}`), stdout);
  });

  test("The router's real image survives the way through the registry", { skip: !process.env.TEST_ROUTER_IMAGE && "TEST_ROUTER_IMAGE names none" }, async () => {
    const image = `${registry.host}/${owner}/opencode-router:real`;
    buildah("push", "--quiet", "--tls-verify=false", process.env.TEST_ROUTER_IMAGE, `docker://${image}`);
    assert.equal((await manifest(image)).status, 200);
    const id = buildah("inspect", "--type", "image", "--format", "{{.FromImageID}}", process.env.TEST_ROUTER_IMAGE);
    assert.equal(buildah("pull", "--quiet", "--tls-verify=false", `docker://${image}`), id);
  });
});
