/** The clients of the benchmarks that are in Go, so that a server's time is measured and not theirs. */
import { execFileSync } from "node:child_process";
import { mkdirSync } from "node:fs";
import { join } from "node:path";

const TOOLS = join(import.meta.dirname, "..", "..", ".tools", "peers");

/** Builds one of them: `go` must be there, and nothing is fetched, since they use Go's own library alone. Returns its path. */
export function buildClient(name: "load" | "agents"): string {
  const path = join(TOOLS, name);
  mkdirSync(TOOLS, { recursive: true });
  const env = { ...process.env, CGO_ENABLED: "0", GOFLAGS: "-trimpath" };
  execFileSync("go", ["build", "-o", path, `./${name}`], { cwd: import.meta.dirname, env, stdio: ["ignore", 2, 2] });
  return path;
}
