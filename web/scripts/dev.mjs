// Starts the router on its memory backend (crates/router-bin/examples/dev) and Vite in front of it: changes
// of the site are in the browser at once. PORT is the router's port, DEV_PORT Vite's.
import { spawn } from "node:child_process";
import { fileURLToPath } from "node:url";
import { createServer } from "vite";

const root = fileURLToPath(new URL("..", import.meta.url));
const port = process.env.PORT || "3000";
const target = process.env.CARGO_TARGET_DIR || fileURLToPath(new URL("../../target", import.meta.url));
const router = spawn(`${target}/debug/examples/dev`, [], {
  env: { ...process.env, PORT: port },
  stdio: "inherit",
});
const ended = new Promise((done) => router.once("close", done));
router.once("error", (error) => console.error(`The router can't be started: ${error.message}`));

// Vite answers with the pages, the router with everything under /api. `changeOrigin`: the router answers only
// to its own names.
const vite = await createServer({
  root,
  server: {
    port: Number(process.env.DEV_PORT || 5173),
    proxy: { "/api": { target: `http://localhost:${port}`, changeOrigin: true } },
  },
});
await vite.listen();
vite.printUrls();

// Ctrl-C in a terminal reaches the router as well; a signal to this process alone is passed on.
for (const signal of ["SIGINT", "SIGTERM"]) process.once(signal, () => router.kill("SIGINT"));
process.exitCode = (await ended) ?? 0;
await vite.close();
process.exit();
