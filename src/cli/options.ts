/** Options that several commands share. */

import { statSync } from "node:fs";
import { AppError } from "../core/error.ts";
import type { LogLevel } from "../core/logger.ts";
import { type IpBlock, parseIpBlock } from "../policy/ip-block.ts";
import type { OptionSpec, ParsedArguments } from "./command.ts";

export const STATE_OPTION = {
  type: "value",
  value: "FOLDER",
  doc: "the state folder: CA, ledger, record, sockets; only its owner may read it",
  default: process.env.GARRISON_STATE ?? ".garrison",
} as const satisfies OptionSpec;

export const LOG_OPTION = {
  type: "value",
  value: "LEVEL",
  doc: "debug, info, warn or error",
  default: "info",
} as const satisfies OptionSpec;

export const JSON_OPTION = { type: "flag", doc: "print JSON" } as const satisfies OptionSpec;

const LEVELS: readonly LogLevel[] = ["debug", "info", "warn", "error"];

/** The value of an option that the command cannot do without. Throws `invalid-argument`. */
export function required(parsed: ParsedArguments, name: string): string {
  const value = parsed.value(name);
  if (value === undefined) throw new AppError("invalid-argument", `\`--${name}\` is needed`, { help: "see the command's `--help`" });
  if (value === "") throw new AppError("invalid-argument", `\`--${name}\` needs a value`);
  return value;
}

/** `--log-level`. Throws `invalid-argument`. */
export function logLevel(parsed: ParsedArguments): LogLevel {
  const text = required(parsed, "log-level");
  const level = LEVELS.find((known) => known === text);
  if (level === undefined)
    throw new AppError("invalid-argument", `\`${text}\` is not a log level`, { help: `it is one of ${LEVELS.join(", ")}` });
  return level;
}

/** A folder of YAML that a command line names. Throws `not-found`. */
export function existingFolder(folder: string): string {
  const found = statSync(folder, { throwIfNoEntry: false });
  if (found?.isDirectory() === true) return folder;
  if (found !== undefined) throw new AppError("not-found", "it is a file", { where: folder, help: "name the folder that it is in" });
  throw new AppError("not-found", "there is no such folder", { where: folder, help: "name the folder with your YAML" });
}

/** `HOST:PORT` or `[HOST]:PORT`; port 0 takes any free one. Throws `invalid-argument`. */
export function parseHostPort(text: string): { readonly host: string; readonly port: number } {
  const match = /^(?:\[([0-9a-fA-F:.]+)\]|([^:\s]+)):(\d{1,5})$/.exec(text);
  const port = Number(match?.[3] ?? Number.NaN);
  if (match === null || port > 65535) {
    throw new AppError("invalid-argument", `\`${text}\` is not an address`, { help: "write it as HOST:PORT, such as `127.0.0.1:15012`" });
  }
  return { host: match[1] ?? match[2] ?? "", port };
}

/** A whole number within bounds. Throws `invalid-argument`. */
export function parseCount(name: string, text: string, least: number, most: number): number {
  const value = /^\d{1,9}$/.test(text) ? Number(text) : Number.NaN;
  if (!(value >= least && value <= most)) {
    throw new AppError("invalid-argument", `\`--${name} ${text}\` is not a whole number from ${least} to ${most}`);
  }
  return value;
}

/** Of an empty list, on stderr: a person knows that it was asked. Whoever wants JSON is a program, and reads nothing. */
export function tellNothing(parsed: ParsedArguments, what: string): void {
  if (!parsed.flag("json")) process.stderr.write(`${what}\n`);
}

/** Addresses besides the public internet that keys of tokens may come from: `--jwks-allow`, and the environment. Throws `invalid-argument`. */
export function jwksAllow(parsed: ParsedArguments, fromEnvironment = process.env.GARRISON_JWKS_ALLOW ?? ""): readonly IpBlock[] {
  const given = [...parsed.values("jwks-allow"), ...fromEnvironment.split(",")];
  return given.filter((text) => text !== "").map((text) => parseIpBlock(text.trim()));
}

/** A key of a Secret, which is how clusters are named. Throws `invalid-argument`. */
export function clusterName(text: string): string {
  if (/^[-._a-zA-Z0-9]{1,128}$/.test(text)) return text;
  throw new AppError("invalid-argument", `\`${text.slice(0, 200)}\` is not the name of a cluster`, {
    help: "names are of letters, digits, `-`, `_` and `.`, at most 128 of them",
  });
}
