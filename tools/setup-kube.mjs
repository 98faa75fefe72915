// Builds the Kubernetes API server and controller-manager that test/kube/server/go.mod pins into .tools/kube, beside a link to the
// machine's etcd, without touching the system. Prints the folder. Running it again does nothing when they are there.
import { spawnSync } from "node:child_process";
import { existsSync, linkSync, mkdirSync, readFileSync, renameSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { delimiter, dirname, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const source = join(root, "test", "kube", "server");
const folder = join(root, ".tools", "kube");
const BUILD_TIMEOUT_MS = 40 * 60_000;

/**
 * Ends with what went wrong and what to do.
 * @param {string} message
 * @param {string} help
 * @returns {never}
 */
function fail(message, help) {
  console.error(`error: ${message}\n  help: ${help}`);
  process.exit(1);
}

/** Everything that decides what is built. */
function fingerprint() {
  return ["go.mod", "go.sum", "main.go"].map((name) => readFileSync(join(source, name), "utf8")).join("\n");
}

/** @param {string} name */
function find(name) {
  // The last is where `npm run setup:go` puts a Go where the machine has none.
  const others = ["/usr/local/go/bin", "/usr/bin", "/usr/sbin", join(root, ".tools", "go", "sdk", "go", "bin")];
  const folders = [...(process.env.PATH ?? "").split(delimiter), ...others];
  return folders.map((each) => join(each, name)).find((path) => existsSync(path));
}

function version() {
  const pinned = /k8s\.io\/kubernetes (v\S+)/.exec(fingerprint())?.[1];
  return pinned ?? fail("`test/kube/server/go.mod` names no version of Kubernetes", "restore the file");
}

/** @param {string} go */
function build(go) {
  const target = join(folder, "building");
  const flags = `-s -w -X k8s.io/component-base/version.gitVersion=${version()}`;
  const { status } = spawnSync(go, ["build", "-ldflags", flags, "-o", target, "."], {
    cwd: source,
    stdio: ["ignore", 2, 2],
    timeout: BUILD_TIMEOUT_MS,
  });
  if (status !== 0) fail("Kubernetes could not be built", "read what Go says above; it needs Go 1.26 and the Go module proxy");
  for (const name of ["kube-apiserver", "kube-controller-manager"]) {
    rmSync(join(folder, name), { force: true });
    linkSync(target, join(folder, name));
  }
  rmSync(target);
}

function main() {
  const etcd = find("etcd") ?? fail("there is no `etcd`", "install it (Debian, Ubuntu: `apt-get install etcd-server`)");
  const go =
    find("go") ??
    fail(
      "there is no `go`",
      "install Go 1.26 or newer, or set `KUBEBUILDER_ASSETS` to a folder with `kube-apiserver`, `kube-controller-manager` and `etcd`",
    );
  mkdirSync(folder, { recursive: true });
  const stamp = join(folder, "stamp");
  const built = existsSync(stamp) && readFileSync(stamp, "utf8") === fingerprint();
  if (!built) {
    build(go);
    writeFileSync(`${stamp}.new`, fingerprint());
    renameSync(`${stamp}.new`, stamp);
  }
  rmSync(join(folder, "etcd"), { force: true });
  symlinkSync(etcd, join(folder, "etcd"));
  console.log(folder);
}

main();
