/** A token that may be taken out and put back: used while it is there, opened anew when it has come back. */
import type { Handle, PKCS11 } from "pkcs11js";
import { AppError } from "../../core/error.ts";
import { type SigningForm, signingFormOf } from "./keys.ts";
import type { OpenedKey, TokenKeyKind } from "./messages.ts";
import { type Pkcs11Module, RefusedPins, TokenSession, tokenError } from "./session.ts";
import { describeKey, type KeyLocation } from "./uri.ts";

/** The key at hand, as long as the session lasts. */
interface Use {
  readonly session: TokenSession;
  readonly key: Handle;
  readonly spki: Uint8Array;
  readonly form: SigningForm;
}

export class Token {
  readonly #module: Pkcs11Module;
  readonly #library: PKCS11;
  readonly #location: KeyLocation;
  readonly #refused = new RefusedPins();
  #initialized = false;
  #use: Use | undefined;

  /** Throws `invalid-configuration` when the vendor's library cannot be loaded. */
  constructor(module: Pkcs11Module, location: KeyLocation) {
    this.#module = module;
    this.#location = location;
    this.#library = new module.PKCS11();
    try {
      this.#library.load(location.module);
    } catch (cause) {
      throw new AppError("invalid-configuration", "the file cannot be loaded as a PKCS #11 library", {
        where: location.module,
        help: "name the library of the token's vendor in `module-path`",
        cause,
      });
    }
  }

  /** The key that the location names; with `make`, a new one where there is none. Throws `not-found`, and what `sign` throws. */
  open(make: TokenKeyKind | undefined): OpenedKey {
    const session = this.#start();
    try {
      const found = session.privateKey();
      if (found === undefined && make === undefined) throw this.#notFound();
      const key = found ?? session.makeKey(make ?? "P-256");
      const { spki, extractable } = session.describe(key);
      this.#use = { session, key, spki, form: signingFormOf(spki) };
      return { spki, extractable, made: found === undefined };
    } catch (error) {
      throw this.#lost(error);
    }
  }

  /** Throws `unavailable` unless the key with this public half can be used. */
  probe(spki: Uint8Array): void {
    this.sign(Buffer.from("garrison"), spki);
  }

  /** A signature by the key with this public half. Where the session is over, another is begun, once. Throws `unavailable`. */
  sign(body: Uint8Array, spki: Uint8Array): Uint8Array {
    if (this.#use !== undefined) {
      try {
        return this.#sign(this.#use, body);
      } catch {
        this.#use = undefined;
      }
    }
    try {
      return this.#sign(this.#reopen(spki), body);
    } catch (error) {
      throw this.#lost(error);
    }
  }

  #sign({ session, key, form }: Use, body: Uint8Array): Uint8Array {
    return form.signature(session.sign(key, form.mechanism, form.input(body)));
  }

  #reopen(spki: Uint8Array): Use {
    this.open(undefined);
    const use = this.#use;
    if (use !== undefined && Buffer.compare(use.spki, spki) === 0) return use;
    throw new AppError("unavailable", `the ${describeKey(this.#location)} is not the key of the CA's certificate any more`, {
      where: this.#location.module,
      help: "put the token back that it was started with",
    });
  }

  /** A library sees tokens that come and go only once it is initialized anew. */
  #start(): TokenSession {
    this.#use = undefined;
    try {
      if (this.#initialized) this.#library.C_Finalize();
      this.#initialized = false;
      this.#library.C_Initialize();
      this.#initialized = true;
      return new TokenSession(this.#module, this.#library, this.#location, this.#refused);
    } catch (error) {
      throw this.#lost(error);
    }
  }

  #lost(error: unknown): AppError {
    this.#use = undefined;
    return tokenError("the token cannot be used", error, this.#location.module);
  }

  #notFound(): AppError {
    return new AppError("not-found", `there is no ${describeKey(this.#location)}`, {
      where: this.#location.module,
      help: "see what the token has: pkcs11-tool --module MODULE --list-objects --login",
    });
  }
}
