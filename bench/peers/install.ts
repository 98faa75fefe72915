/** Peers to compare with are no dependencies of the project: they are fetched when a benchmark first asks for them. */
import { execFileSync } from "node:child_process";
import { existsSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";

const OPA_VERSION = "v1.10.1";
const TOOLS = join(import.meta.dirname, "..", "..", ".tools", "peers");

/** A package of `bench/peers/package-lock.json`. */
export function loadPeer(name: string): unknown {
  if (!existsSync(join(import.meta.dirname, "node_modules"))) {
    execFileSync("npm", ["ci", "--ignore-scripts", "--no-audit", "--no-fund"], { cwd: import.meta.dirname, stdio: ["ignore", 2, 2] });
  }
  return createRequire(join(import.meta.dirname, "package.json"))(name);
}

/** The path of the `opa` command; undefined where there is no Go to build it with. */
export function findOpa(): string | undefined {
  const path = join(TOOLS, "opa");
  if (existsSync(path)) return path;
  try {
    const env = { ...process.env, GOBIN: TOOLS };
    execFileSync("go", ["install", `github.com/open-policy-agent/opa@${OPA_VERSION}`], { env, stdio: ["ignore", 2, 2] });
    return path;
  } catch {
    return undefined;
  }
}
