// Decides whether the workflow deploy-homelab.yml has something to do, and with which images. It writes the
// outputs `command` (deploy, preview or nothing), `routerImage`, `cfOperatorImage`, `opencodeImage`, `once`
// and `key`.
//
// It looks at the state, not at the event: the newest runs of the image workflows on main. A lost or doubled
// event changes nothing.

import { execFileSync, spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { appendFileSync, mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { pathToFileURL } from "node:url";

/** The images: the workflow that pushes each, its name, the output, and the workflow's input in the environment. */
export const IMAGES = [
  { workflow: "build-opencode-router.yml", name: "opencode-router", output: "routerImage", input: "ROUTER_IMAGE" },
  { workflow: "build-cloudflare-operator.yml", name: "opencode-cloudflare-operator", output: "cfOperatorImage", input: "CF_OPERATOR_IMAGE" },
  { workflow: "build-opencode-session.yml", name: "opencode-session", output: "opencodeImage", input: "OPENCODE_IMAGE" },
];

/** The paths of a workflow's `push` trigger: a list of quoted patterns. */
export function pushPaths(workflow) {
  const push = workflow.match(/^ {2}push:\n(?: {4}.*\n)*? {4}paths:\n((?: {6}- ".*"\n)+)/m);
  if (!push) throw new Error("the workflow has no push trigger with paths");
  return [...push[1].matchAll(/- "(.*)"/g)].map((line) => line[1]);
}

/** Whether a push of this file starts a workflow with these paths: the last pattern that fits decides. */
export function matches(paths, file) {
  let fits = false;
  for (const path of paths) {
    const pattern = path.replace(/^!/, "");
    const expression = pattern.replace(/[.+?^${}()|[\]\\]/g, "\\$&").replace(/\*\*|\*/g, (stars) => (stars === "*" ? "[^/]*" : ".*"));
    if (new RegExp(`^${expression}$`).test(file)) fits = !path.startsWith("!");
  }
  return fits;
}

/**
 * Decides. `runs` has the runs on main of each image's workflow, newest first; `paths` the paths of each;
 * `changed` the files of a push; `inputs` the images that a person named. Returns the command, a reason, and
 * for each image either `reference` (named by a person) or `commit` (of the newest image).
 */
export function plan({ event, command, inputs, runs, paths, changed }) {
  const byHand = event === "workflow_dispatch";
  const images = {};
  for (const { name, workflow } of IMAGES) {
    const own = runs[name].filter((run) => run.event === "push" || run.event === "workflow_dispatch");
    if (byHand && inputs[name]) {
      if (!/^[a-z0-9][a-z0-9./:-]*:[\w.-]+(@sha256:[0-9a-f]{64})?$/.test(inputs[name])) throw new Error(`${inputs[name]} is not an image with its tag`);
      images[name] = { reference: inputs[name] };
      continue;
    }
    if (event === "push" && changed.some((file) => matches(paths[name], file))) {
      return skip(`this push also changes what ${name} is built from: the end of ${workflow} starts the deployment`);
    }
    const running = own.find((run) => run.status !== "completed");
    if (!byHand && event !== "pull_request" && running) {
      return skip(`${workflow} is running (${running.html_url}): its end starts the deployment`);
    }
    const newest = own.find((run) => run.status === "completed");
    const usable = byHand || event === "pull_request" ? own.find((run) => run.conclusion === "success") : newest;
    if (!usable && event === "pull_request") continue; // the preview takes the stack's own
    if (!usable) return skip(`${workflow} has pushed no image from main: start it by hand`);
    if (usable.conclusion !== "success") return skip(`the newest run of ${workflow} ended as ${usable.conclusion} (${usable.html_url})`);
    images[name] = { commit: usable.head_sha };
  }
  if (byHand) return { command, once: false, images };
  return event === "pull_request" ? { command: "preview", once: false, images } : { command: "deploy", once: true, images };
}

const skip = (reason) => ({ command: "", reason });

const git = (...args) => execFileSync("git", args, { encoding: "utf8" }).trim();

const isCommit = (name) => spawnSync("git", ["cat-file", "-e", `${name}^{commit}`]).status === 0;

/** The tag that the image workflow of this commit made: what that commit's own script printed. */
function tagAt(commit, name) {
  const folder = mkdtempSync(join(tmpdir(), "commit-"));
  try {
    git("worktree", "add", "--quiet", "--force", "--detach", folder, commit);
    const env = { ...process.env, GITHUB_REF_NAME: "main", GITHUB_REF: "refs/heads/main", GITHUB_SHA: commit };
    return execFileSync(join(folder, "scripts/image-tag.sh"), [name], { cwd: folder, env, encoding: "utf8" }).trim();
  } finally {
    git("worktree", "remove", "--force", folder);
    rmSync(folder, { recursive: true, force: true });
  }
}

async function runsOf(workflow) {
  const { GITHUB_API_URL: api, GITHUB_REPOSITORY: repository, GITHUB_TOKEN: token } = process.env;
  const url = `${api}/repos/${repository}/actions/workflows/${workflow}/runs?branch=main&exclude_pull_requests=true&per_page=50`;
  const response = await fetch(url, { headers: { authorization: `Bearer ${token}`, accept: "application/vnd.github+json" } });
  if (response.status === 404) return [];
  if (!response.ok) throw new Error(`GitHub answered ${response.status} to ${url}: ${(await response.text()).slice(0, 500)}`);
  return (await response.json()).workflow_runs;
}

function changedFiles(event) {
  const { before, after } = event;
  // A new branch, or a force push whose old commit is gone: everything counts as changed.
  const known = before && isCommit(before);
  return git(...(known ? ["diff", "--name-only", before, after] : ["ls-files"])).split("\n").filter(Boolean);
}

async function main() {
  const event = process.env.GITHUB_EVENT_NAME;
  const runs = {}, paths = {}, inputs = {};
  for (const { name, workflow, input } of IMAGES) {
    runs[name] = await runsOf(workflow);
    paths[name] = pushPaths(readFileSync(`.github/workflows/${workflow}`, "utf8"));
    inputs[name] = process.env[input] ?? "";
  }
  const changed = event === "push" ? changedFiles(JSON.parse(readFileSync(process.env.GITHUB_EVENT_PATH, "utf8"))) : [];
  const decision = plan({ event, command: process.env.COMMAND, inputs, runs, paths, changed });

  const outputs = { command: decision.command, once: String(decision.once ?? false) };
  for (const { name, output } of IMAGES) {
    const image = decision.images?.[name];
    if (!image) continue;
    const fullName = image.reference ? "" : execFileSync("scripts/ci/image-name.sh", [name], { encoding: "utf8" }).trim();
    outputs[output] = image.reference ?? `${fullName}:${tagAt(image.commit, name)}`;
  }
  // What a deployment is made of: one with the same key has nothing to do.
  const parts = [process.env.HOMELAB_STACK, git("rev-parse", "HEAD:deploy/homelab"), ...IMAGES.map(({ output }) => outputs[output])];
  outputs.key = `deployed-${createHash("sha256").update(parts.join("\n")).digest("hex")}`;

  const lines = Object.entries(outputs).map(([key, value]) => `${key}=${value}\n`).join("");
  if (process.env.GITHUB_OUTPUT) appendFileSync(process.env.GITHUB_OUTPUT, lines);
  const text = decision.command ? `${lines}` : `Nothing is deployed: ${decision.reason}.\n`;
  if (process.env.GITHUB_STEP_SUMMARY) appendFileSync(process.env.GITHUB_STEP_SUMMARY, `\`\`\`\n${text}\`\`\`\n`);
  console.log(text);
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) await main();
