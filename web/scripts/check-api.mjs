// Checks that the generated types match the committed OpenAPI document.
import { execFileSync } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

const folder = mkdtempSync(join(tmpdir(), "check-api-"));
try {
  const generated = join(folder, "schema.ts");
  execFileSync("npx", ["openapi-typescript", "../crates/api/openapi.json", "-o", generated], {
    stdio: "pipe",
  });
  if (readFileSync(generated, "utf8") !== readFileSync("src/api/schema.ts", "utf8")) {
    console.error(
      "src/api/schema.ts does not match crates/api/openapi.json. Run `npm run gen:api` in web/ and commit the result.",
    );
    process.exitCode = 1;
  } else {
    console.log("src/api/schema.ts is up to date.");
  }
} finally {
  rmSync(folder, { recursive: true, force: true });
}
