/** Which CA the control plane has: one of its own, the operator's by files or by a key in a token, or another that signs. */
import { resolve } from "node:path";
import { type Authority, type AuthorityOptions, openAuthority } from "../ca/authority.ts";
import type { CaSource } from "../ca/ca-source.ts";
import { openTokenCa } from "../ca/pkcs11/token-ca.ts";
import type { KeyLocation } from "../ca/pkcs11/uri.ts";
import { AppError } from "../core/error.ts";
import type { KeySpec } from "../x509/key-spec.ts";
import { openUpstreamCa } from "./upstream.ts";

export interface CaOptions {
  /** The folder of the CA's files; without the key where it is in a token. */
  readonly folder?: string;
  /** Where the CA's key is in a token. */
  readonly token?: KeyLocation;
  /** The file that says which other CA signs. */
  readonly upstream?: string;
  /** The kind of keys of authorities that are made here; P-256 without. */
  readonly keySpec?: KeySpec;
}

type Base = Omit<AuthorityOptions, "ca" | "caFolder">;

async function openSource(base: Base, { folder, token, upstream }: CaOptions): Promise<CaSource | undefined> {
  if (upstream !== undefined) {
    if (folder === undefined && token === undefined) return openUpstreamCa(upstream, base);
    throw new AppError("invalid-argument", "either another CA signs, or this one", {
      help: "leave --ca-upstream out, or --ca-folder and --ca-pkcs11",
    });
  }
  if (token === undefined) return undefined;
  return openTokenCa({ ...base, location: token, ...(folder === undefined ? {} : { caFolder: resolve(folder) }) });
}

/** Throws what the operator must put right, and leaves nothing open. */
export async function openCa(base: Base, options: CaOptions = {}): Promise<Authority> {
  const ca = await openSource(base, options);
  try {
    const { folder, keySpec } = options;
    return openAuthority({
      ...base,
      keySpec,
      ...(ca === undefined ? {} : { ca }),
      ...(folder === undefined ? {} : { caFolder: resolve(folder) }),
    });
  } catch (error) {
    ca?.close();
    throw error;
  }
}
