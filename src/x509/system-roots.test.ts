import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { readSystemRoots } from "./system-roots.ts";

test("SSL_CERT_FILE names the roots, and a file that is not there means none", () => {
  const folder = mkdtempSync(join(tmpdir(), "roots-"));
  const path = join(folder, "roots.pem");
  writeFileSync(path, "some roots");
  assert.equal(readSystemRoots({ SSL_CERT_FILE: path }), "some roots");
  assert.equal(readSystemRoots({ SSL_CERT_FILE: join(folder, "none.pem") }), "");
  rmSync(folder, { recursive: true });
});
