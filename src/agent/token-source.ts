/** Where the token for a certificate comes from; asked anew for each attempt, so that an agent outlives any one token. */
import { readFile } from "node:fs/promises";
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

/** What the file holds when it is asked for (AG-6); none while there is no file. */
export function tokenFromFile(file: string): TokenSource {
  return async () => {
    let text: string;
    try {
      text = await readFile(file, "utf8");
    } catch (cause) {
      if (cause instanceof Error && "code" in cause && cause.code === "ENOENT") return undefined;
      throw new AppError("not-found", `the token file \`${file}\` cannot be read`, {
        cause,
        help: "make it readable for the agent's user",
      });
    }
    return checkToken(text.trim(), `the token file \`${file}\` does not hold one token`);
  };
}

function checkToken(token: string, otherwise: string): string {
  if (token.length <= MAX_TOKEN_CHARACTERS && TOKEN.test(token)) return token;
  throw new AppError("invalid-argument", otherwise, { help: "write a service-account token or a join token there, and nothing else" });
}

/** A call's metadata. */
export function bearer(token: string | undefined): Metadata {
  const metadata = new Metadata();
  if (token !== undefined) metadata.set("authorization", `Bearer ${token}`);
  return metadata;
}
