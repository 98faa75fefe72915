/** Where Envoy is: `ENVOY_PATH`, then `PATH`, then what `npm run setup:envoy` installed. */
import { execFile } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import { fileURLToPath } from "node:url";
import { promisify } from "node:util";
import { AppError } from "../core/error.ts";

const execute = promisify(execFile);

/** Older ones have a path normalization bypass (CVE-2026-73551). */
const OLDEST = [1, 39, 1] as const;

export interface FoundEnvoy {
  readonly path: string;
  readonly version: string;
}

const HELP = "install one with `npm run setup:envoy` in a checkout, or name it in ENVOY_PATH";

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function candidates(): readonly string[] {
  const named = process.env.ENVOY_PATH;
  if (named !== undefined && named !== "") return [named];
  const onPath = (process.env.PATH ?? "").split(delimiter).map((folder) => join(folder, "envoy"));
  return [...onPath, fileURLToPath(new URL("../../.tools/envoy/bin/envoy", import.meta.url))];
}

function isNewEnough(version: string): boolean {
  const parts = version.split(".").map(Number);
  for (const [index, least] of OLDEST.entries()) {
    const part = parts[index] ?? 0;
    if (part !== least) return part > least;
  }
  return true;
}

async function versionOf(path: string): Promise<string> {
  const { stdout } = await execute(path, ["--version"], { timeout: 20_000 });
  const version = /\/(\d+\.\d+\.\d+)/.exec(stdout)?.[1];
  if (version === undefined) throw new AppError("unsupported", "the program does not say that it is Envoy", { where: path, help: HELP });
  return version;
}

/** The machine's Envoy, or undefined where there is none. Throws `unsupported` for one that is too old or does not run. */
export async function findEnvoy(): Promise<FoundEnvoy | undefined> {
  const path = candidates().find(isExecutable);
  if (path === undefined) {
    if (process.env.ENVOY_PATH)
      throw new AppError("not-found", "ENVOY_PATH names no program that can be run", { where: process.env.ENVOY_PATH, help: HELP });
    return undefined;
  }
  const version = await versionOf(path).catch((cause: unknown) => {
    throw cause instanceof AppError ? cause : new AppError("unsupported", "Envoy does not run here", { where: path, help: HELP, cause });
  });
  if (!isNewEnough(version)) {
    throw new AppError("unsupported", `Envoy ${version} is too old: it has a known bypass of path rules`, {
      where: path,
      help: `${OLDEST.join(".")} or newer is needed: ${HELP}`,
    });
  }
  return { path, version };
}

/** The kind of proxy that `--proxy` asks for: `auto` takes Envoy where there is one. Throws `not-found`, `invalid-argument`. */
export async function chooseProxy(text: string): Promise<{ readonly kind: "embedded" } | ({ readonly kind: "envoy" } & FoundEnvoy)> {
  if (text === "embedded") return { kind: "embedded" };
  if (text !== "envoy" && text !== "auto")
    throw new AppError("invalid-argument", `\`--proxy ${text}\` is not known`, { help: "it is envoy, embedded or auto" });
  const envoy = await findEnvoy();
  if (envoy !== undefined) return { kind: "envoy", ...envoy };
  if (text === "envoy")
    throw new AppError("not-found", "there is no Envoy on this machine", {
      help: `${HELP}; or take the embedded proxy with --proxy embedded`,
    });
  return { kind: "embedded" };
}

export const PROXY_OPTION = {
  type: "value",
  value: "KIND",
  doc: "envoy, embedded, or auto: Envoy where there is one",
  default: "auto",
} as const;
