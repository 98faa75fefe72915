/** Which CA the control plane has: one of its own, the operator's by files, or by a key in a token. */
import { resolve } from "node:path";
import { type Authority, type AuthorityOptions, openAuthority } from "../ca/authority.ts";
import type { CaSource } from "../ca/ca-source.ts";
import { openTokenCa } from "../ca/pkcs11/token-ca.ts";
import type { KeyLocation } from "../ca/pkcs11/uri.ts";

export interface CaOptions {
  /** The folder of the CA's files; without the key where it is in a token. */
  readonly folder?: string;
  /** Where the CA's key is in a token. */
  readonly token?: KeyLocation;
}

type Base = Omit<AuthorityOptions, "ca" | "caFolder">;

async function openSource(base: Base, { folder, token }: CaOptions): Promise<CaSource | undefined> {
  if (token === undefined) return undefined;
  return openTokenCa({ ...base, location: token, ...(folder === undefined ? {} : { caFolder: resolve(folder) }) });
}

/** Throws what the operator must put right, and leaves nothing open. */
export async function openCa(base: Base, options: CaOptions = {}): Promise<Authority> {
  const ca = await openSource(base, options);
  try {
    const { folder } = options;
    return openAuthority({ ...base, ...(ca === undefined ? {} : { ca }), ...(folder === undefined ? {} : { caFolder: resolve(folder) }) });
  } catch (error) {
    ca?.close();
    throw error;
  }
}
