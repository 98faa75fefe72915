/** Where the token for a certificate comes from; asked anew for each attempt, so that an agent outlives any one token. */
import { execFile } from "node:child_process";
import { readFile } from "node:fs/promises";
import { promisify } from "node:util";
import { Metadata } from "@grpc/grpc-js";
import { AppError } from "../core/error.ts";

/** The token of this moment; undefined where there is none, as a certificate may do. `certified`: there is a valid one to present. */
export type TokenSource = (certified: boolean) => Promise<string | undefined>;

const MAX_TOKEN_CHARACTERS = 16 * 1024;
/** RFC 6750 §2.1. */
const TOKEN = /^[A-Za-z0-9._~+/-]+=*$/;

/** No token at all. */
export const NO_TOKEN: TokenSource = async () => undefined;

/** One that was given; not sent any more once there is a certificate, as it may be for one use. */
export function fixedToken(token: string): TokenSource {
  const checked = checkToken(token.trim(), "the join token is not one");
  return async (certified) => (certified ? undefined : checked);
}

function isMissing(cause: unknown): boolean {
  return cause instanceof Error && "code" in cause && cause.code === "ENOENT";
}

/** What the file holds when it is asked for (AG-6); none while there is no file, where a certificate does. */
export function tokenFromFile(file: string): TokenSource {
  return async (certified) => {
    let text: string;
    try {
      text = await readFile(file, "utf8");
    } catch (cause) {
      if (certified) return undefined;
      const help = isMissing(cause) ? "put the token there; it is looked at again" : "make it readable for the agent's user";
      throw new AppError("not-found", `the token file \`${file}\` ${isMissing(cause) ? "is not there" : "cannot be read"}`, {
        cause,
        help,
      });
    }
    return checkToken(credentialIn(text), `the token file \`${file}\` does not hold one token`);
  };
}

const COMMAND_TIMEOUT_MS = 10_000;

/** What a command of the shell prints, such as one that gets a token of its platform; not run while there is a certificate to present. */
export function tokenFromCommand(command: string): TokenSource {
  return async (certified) => {
    if (certified) return undefined;
    try {
      const { stdout } = await promisify(execFile)("/bin/sh", ["-c", command], {
        timeout: COMMAND_TIMEOUT_MS,
        killSignal: "SIGKILL",
        maxBuffer: 2 * MAX_TOKEN_CHARACTERS,
      });
      return checkToken(credentialIn(stdout), "the token command does not print one token");
    } catch (cause) {
      if (cause instanceof AppError) throw cause;
      // The command line, and what it printed, may hold secrets.
      throw new AppError("unavailable", `the token command fails, or takes more than ${COMMAND_TIMEOUT_MS / 1000} s`, {
        help: "run it by hand: it is to print one token",
      });
    }
  };
}

/** A token as it is, or the base64 of a signed document (PKCS#7) without its lines. */
function credentialIn(text: string): string {
  const trimmed = text.trim();
  const [, armored] = /^-----BEGIN PKCS7-----([A-Za-z0-9+/=\s]+)-----END PKCS7-----$/.exec(trimmed) ?? [];
  const lines = armored ?? (/^MI[A-Za-z0-9+/=\s]+$/.test(trimmed) ? trimmed : undefined);
  return lines === undefined ? trimmed : lines.replace(/\s+/g, "");
}

function checkToken(token: string, otherwise: string): string {
  if (token.length <= MAX_TOKEN_CHARACTERS && TOKEN.test(token)) return token;
  throw new AppError("invalid-argument", otherwise, {
    help: "it is to be a service-account token, a join token, a token of an issuer outside, or a signed instance document, and nothing else",
  });
}

/** A call's metadata. `cluster`: whose token it is, by Istio's name for that; undefined where there is but one. */
export function bearer(token: string | undefined, cluster?: string): Metadata {
  const metadata = new Metadata();
  if (token !== undefined) metadata.set("authorization", `Bearer ${token}`);
  if (cluster !== undefined) metadata.set("clusterid", cluster);
  return metadata;
}
