/** A CA's key in a PKCS #11 token. */
import { createPublicKey, type KeyObject } from "node:crypto";
import { AppError } from "../../core/error.ts";
import type { Logger } from "../../core/logger.ts";
import type { Signer } from "../../x509/signer.ts";
import type { TokenKeyKind } from "./messages.ts";
import { TokenThread } from "./thread.ts";
import { describeKey, type KeyLocation } from "./uri.ts";

export interface TokenSignerOptions {
  readonly location: KeyLocation;
  readonly logger: Logger;
  /** Makes a key of this kind where the token has none that is called so. */
  readonly make?: TokenKeyKind;
}

/** Between two looks at a token that did not sign. */
const PROBE_MS = 2000;

/** Signs with the token's key, and with no other that may come in its place. */
export class TokenSigner implements Signer {
  readonly publicKey: KeyObject;
  readonly name: string;
  readonly #thread: TokenThread;
  readonly #spki: Uint8Array;
  readonly #logger: Logger;
  #problem: string | undefined;
  #probe: NodeJS.Timeout | undefined;

  /** `openTokenSigner` makes it. */
  constructor(thread: TokenThread, spki: Uint8Array, name: string, logger: Logger) {
    this.#thread = thread;
    this.#spki = spki;
    this.name = name;
    this.#logger = logger;
    this.publicKey = createPublicKey({ key: Buffer.from(spki), format: "der", type: "spki" });
  }

  /** Why it does not sign; undefined while it does. */
  get problem(): string | undefined {
    return this.#problem;
  }

  async sign(body: Uint8Array): Promise<Uint8Array> {
    try {
      const result = await this.#thread.ask({ kind: "sign", body, spki: this.#spki });
      if (result.kind !== "signed") throw new AppError("internal", "the token's thread answered another question");
      this.#works();
      return result.signature;
    } catch (thrown) {
      throw this.#fails(AppError.from(thrown));
    }
  }

  close(): void {
    clearTimeout(this.#probe);
    this.#thread.close();
  }

  #works(): void {
    if (this.#problem === undefined) return;
    this.#problem = undefined;
    clearTimeout(this.#probe);
    this.#logger.log("info", "the CA's token signs again", { key: this.name });
  }

  /** Where it is and what to do is the operator's to read, not the caller's. */
  #fails(error: AppError): AppError {
    if (error.code === "resource-exhausted") return error;
    if (this.#problem !== error.message) {
      this.#problem = error.message;
      this.#logger.log("error", "the CA's token does not sign", { key: this.name, reason: error.message, help: error.help ?? "" });
    }
    clearTimeout(this.#probe);
    this.#probe = setTimeout(() => void this.#look(), PROBE_MS).unref();
    return new AppError("unavailable", "the CA's key cannot be reached", { cause: error });
  }

  async #look(): Promise<void> {
    try {
      await this.#thread.ask({ kind: "probe", spki: this.#spki });
      this.#works();
    } catch (thrown) {
      this.#fails(AppError.from(thrown));
    }
  }
}

/** Throws `unavailable` when the token is not there, `not-found` when it has no such key, `unsupported` without the native module. */
export async function openTokenSigner({ location, logger, make }: TokenSignerOptions): Promise<TokenSigner> {
  const thread = new TokenThread(location);
  const name = describeKey(location);
  try {
    const result = await thread.ask({ kind: "open", make });
    if (result.kind !== "opened") throw new AppError("internal", "the token's thread answered another question");
    const { spki, made, extractable } = result.key;
    if (made) logger.log("info", "a CA key was made in the token", { key: name });
    if (extractable) logger.log("warn", "the token would give the CA's key away: it is marked extractable", { key: name });
    return new TokenSigner(thread, spki, name, logger);
  } catch (error) {
    thread.close();
    throw error;
  }
}
