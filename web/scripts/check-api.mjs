// The client's types are those of the committed OpenAPI document: fails, and says what to do, where they differ.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const folder = mkdtempSync(join(tmpdir(), "check-api-"));
try {
  const fresh = join(folder, "schema.ts");
  execFileSync("npx", ["openapi-typescript", "../crates/api/openapi.json", "-o", fresh], { stdio: "pipe" });
  if (readFileSync(fresh, "utf8") !== readFileSync("src/api/schema.ts", "utf8")) {
    console.error(
      "src/api/schema.ts is not what crates/api/openapi.json says: run `npm run gen:api` in web/ and commit.",
    );
    process.exitCode = 1;
  } else {
    console.log("src/api/schema.ts is current.");
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
