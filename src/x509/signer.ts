/** A CA's key that is not in this process's memory. */
import type { KeyObject } from "node:crypto";

/** Signs with a key that never leaves the place where it is, such as a token. */
export interface Signer {
  readonly publicKey: KeyObject;
  /**
   * The signature of `body` by the algorithm of the key's kind, as certificates have it (DER for ECDSA). Rejects with an AppError: `unavailable` while
   * the key cannot be reached, `resource-exhausted` while too much waits for it.
   */
  sign(body: Uint8Array): Promise<Uint8Array>;
}

export function isSigner(key: KeyObject | Signer): key is Signer {
  return "sign" in key;
}
