// Builds the project's own programs.
import { spawnSync } from "node:child_process";
import { fileURLToPath } from "node:url";

export const root = fileURLToPath(new URL("../../..", import.meta.url));

/** Builds a program (`-p crate --example name` …) and returns its path; `env` is added to cargo's. */
export function cargoBuild(profile, args, env = {}) {
  const { status, stdout } = spawnSync(
    "cargo",
    ["build", "--locked", "--profile", profile, ...args, "--message-format=json-render-diagnostics"],
    {
      cwd: root,
      encoding: "utf8",
      env: { ...process.env, ...env },
      stdio: ["ignore", "pipe", "inherit"],
      maxBuffer: 1 << 28,
    },
  );
  if (status !== 0) throw new Error(`cargo build ${args.join(" ")} failed (see above)`);
  const messages = stdout
    .split("\n")
    .filter(Boolean)
    .map((line) => JSON.parse(line));
  return messages.findLast((message) => message.executable).executable;
}
