/** One logged-in session with a token, and the key in it that a URI names. */
import { hash } from "node:crypto";
import type { Handle, PKCS11, Template } from "pkcs11js";
import { AppError } from "../../core/error.ts";
import { readSecret } from "../plugged-files.ts";
import { CURVE_PARAMETERS, ecSpki, rsaSpki } from "./keys.ts";
import type { OpenedKey, TokenKeyKind } from "./messages.ts";
import { describeKey, type KeyLocation, type TokenQuery } from "./uri.ts";

export type Pkcs11Module = typeof import("pkcs11js");

const RSA_BITS = 3072;
const RSA_EXPONENT = Buffer.from([1, 0, 1]);
/** PKCS #11 §6.1: the user's PIN is wrong, expired, or locked after too many wrong ones. */
const PIN_REFUSED: ReadonlySet<number> = new Set([0xa0, 0xa1, 0xa2, 0xa3, 0xa4]);
const USER_ALREADY_LOGGED_IN = 0x100;

/** The code that the library answered, where it was the library. */
function codeOf(error: unknown): number | undefined {
  return error instanceof Error && "code" in error && typeof error.code === "number" ? error.code : undefined;
}

/** What failed, with the library's own word for it, such as `CKR_DEVICE_REMOVED`; never what it was given. */
export function tokenError(what: string, error: unknown, where: string): AppError {
  if (error instanceof AppError) return error;
  const word = error instanceof Error ? (/CKR_[A-Z_]+/.exec(error.message)?.[0] ?? error.message.split("\n")[0]) : "";
  return new AppError("unavailable", `${what} (${word})`, {
    where,
    help: "put the token back, or see what its own tools say of it",
    cause: error,
  });
}

/** Labels are padded with blanks. */
function matches(info: Readonly<Record<"label" | "serialNumber" | "manufacturerID" | "model", string>>, wanted: TokenQuery): boolean {
  const same = (value: string, asked: string | undefined) => asked === undefined || value.replaceAll("\0", "").trimEnd() === asked;
  return (
    same(info.label, wanted.label) &&
    same(info.serialNumber, wanted.serial) &&
    same(info.manufacturerID, wanted.manufacturer) &&
    same(info.model, wanted.model)
  );
}

/** A PIN that was refused is not tried again: a few more, and the token would lock itself. */
export class RefusedPins {
  readonly #hashes = new Set<string>();

  check(pin: string, where: string): void {
    if (this.#hashes.has(hash("sha256", pin)))
      throw new AppError("unavailable", "the token has refused this PIN, and it is not tried again", {
        where,
        help: "put the right PIN into the file",
      });
  }

  add(pin: string): void {
    this.#hashes.add(hash("sha256", pin));
  }
}

export class TokenSession {
  readonly #module: Pkcs11Module;
  readonly #library: PKCS11;
  readonly #location: KeyLocation;
  readonly #session: Handle;

  /** Throws `unavailable` when the token is not there or refuses the PIN. The library is initialized. */
  constructor(module: Pkcs11Module, library: PKCS11, location: KeyLocation, refused: RefusedPins) {
    this.#module = module;
    this.#library = library;
    this.#location = location;
    const slots = library.C_GetSlotList(true).filter((slot) => matches(library.C_GetTokenInfo(slot), location.token));
    const [slot, ...others] = slots;
    const what = describeKey(location).replace(/^key .* of /, "");
    if (slot === undefined) throw new AppError("unavailable", `${what} is not there`, { where: location.module, help: "put the token in" });
    if (others.length > 0)
      throw new AppError("invalid-configuration", `${slots.length} tokens are called so: ${what}`, {
        where: location.module,
        help: "name it by `serial`",
      });
    this.#session = library.C_OpenSession(slot, module.CKF_SERIAL_SESSION | module.CKF_RW_SESSION);
    this.#login(refused);
  }

  #login(refused: RefusedPins): void {
    const { pinFile } = this.#location;
    const pin = readSecret(pinFile).replace(/\r?\n$/, "");
    refused.check(pin, pinFile);
    try {
      this.#library.C_Login(this.#session, this.#module.CKU_USER, pin);
    } catch (error) {
      const code = codeOf(error);
      if (code === USER_ALREADY_LOGGED_IN) return;
      if (code !== undefined && PIN_REFUSED.has(code)) refused.add(pin);
      throw tokenError("the token refuses the PIN", error, pinFile);
    }
  }

  #find(template: Template): readonly Handle[] {
    this.#library.C_FindObjectsInit(this.#session, template);
    try {
      return this.#library.C_FindObjects(this.#session, 2);
    } finally {
      this.#library.C_FindObjectsFinal(this.#session);
    }
  }

  #named(): Template {
    const { label, id } = this.#location;
    const { CKA_LABEL, CKA_ID } = this.#module;
    return [
      ...(label === undefined ? [] : [{ type: CKA_LABEL, value: Buffer.from(label) }]),
      ...(id === undefined ? [] : [{ type: CKA_ID, value: Buffer.from(id, "hex") }]),
    ];
  }

  #values(object: Handle, ...types: readonly number[]): readonly Buffer[] {
    return this.#library
      .C_GetAttributeValue(
        this.#session,
        object,
        types.map((type) => ({ type })),
      )
      .map(({ value }) => value as Buffer);
  }

  /** The private key; undefined where there is none. Throws `invalid-configuration` for two of one name. */
  privateKey(): Handle | undefined {
    const { CKA_CLASS, CKO_PRIVATE_KEY } = this.#module;
    const [key, another] = this.#find([{ type: CKA_CLASS, value: CKO_PRIVATE_KEY }, ...this.#named()]);
    if (another === undefined) return key;
    throw new AppError("invalid-configuration", `the token has two keys that are called so: ${describeKey(this.#location)}`, {
      where: this.#location.module,
      help: "name the key by `id`",
    });
  }

  /** Its SubjectPublicKeyInfo, and whether the token would give the key away. Throws `invalid-configuration` for one that the CA cannot use. */
  describe(key: Handle): Omit<OpenedKey, "made"> {
    const { CKA_KEY_TYPE, CKA_EXTRACTABLE, CKA_MODULUS, CKA_PUBLIC_EXPONENT, CKK_RSA, CKK_EC } = this.#module;
    const [type, extractable] = this.#values(key, CKA_KEY_TYPE, CKA_EXTRACTABLE);
    const kind = type?.readUIntLE(0, Math.min(6, type.length));
    const given = extractable?.[0] !== 0;
    if (kind === CKK_RSA) {
      const [modulus = Buffer.alloc(0), exponent = RSA_EXPONENT] = this.#values(key, CKA_MODULUS, CKA_PUBLIC_EXPONENT);
      return { spki: rsaSpki(modulus, exponent), extractable: given };
    }
    if (kind === CKK_EC) return { spki: this.#ecSpki(key), extractable: given };
    throw new AppError("invalid-configuration", `the token's ${describeKey(this.#location)} is neither EC nor RSA`, {
      where: this.#location.module,
    });
  }

  /** The point is with the public key, which has the private one's `CKA_ID`. */
  #ecSpki(key: Handle): Uint8Array {
    const { CKA_CLASS, CKO_PUBLIC_KEY, CKA_ID, CKA_EC_PARAMS, CKA_EC_POINT } = this.#module;
    const [id = Buffer.alloc(0)] = this.#values(key, CKA_ID);
    const byId = id.length === 0 ? this.#named() : [{ type: CKA_ID, value: id }];
    const [publicKey] = this.#find([{ type: CKA_CLASS, value: CKO_PUBLIC_KEY }, ...byId]);
    if (publicKey === undefined)
      throw new AppError("invalid-configuration", `the token lacks the public half of the ${describeKey(this.#location)}`, {
        where: this.#location.module,
        help: "import the public key with the same label and id",
      });
    const [parameters = Buffer.alloc(0), point = Buffer.alloc(0)] = this.#values(publicKey, CKA_EC_PARAMS, CKA_EC_POINT);
    return ecSpki(parameters, point);
  }

  /** A new key pair that never leaves the token. */
  makeKey(kind: TokenKeyKind): Handle {
    const m = this.#module;
    const id =
      this.#location.id === undefined
        ? [{ type: m.CKA_ID, value: hash("sha256", this.#location.label ?? "", "buffer").subarray(0, 8) }]
        : [];
    const common = [...this.#named(), ...id, { type: m.CKA_TOKEN, value: true }];
    const of: Template =
      kind === "RSA"
        ? [
            { type: m.CKA_MODULUS_BITS, value: RSA_BITS },
            { type: m.CKA_PUBLIC_EXPONENT, value: RSA_EXPONENT },
          ]
        : [{ type: m.CKA_EC_PARAMS, value: Buffer.from(CURVE_PARAMETERS[kind]) }];
    const mechanism = kind === "RSA" ? m.CKM_RSA_PKCS_KEY_PAIR_GEN : m.CKM_EC_KEY_PAIR_GEN;
    const secret = [
      { type: m.CKA_PRIVATE, value: true },
      { type: m.CKA_SENSITIVE, value: true },
      { type: m.CKA_EXTRACTABLE, value: false },
      { type: m.CKA_SIGN, value: true },
    ];
    const pair = this.#library.C_GenerateKeyPair(
      this.#session,
      { mechanism },
      [...common, ...of, { type: m.CKA_VERIFY, value: true }],
      [...common, ...secret],
    );
    return pair.privateKey;
  }

  /** What the token makes of `input` by a mechanism without a hash of its own. */
  sign(key: Handle, mechanism: "ecdsa" | "rsa", input: Buffer): Buffer {
    const { CKM_ECDSA, CKM_RSA_PKCS } = this.#module;
    this.#library.C_SignInit(this.#session, { mechanism: mechanism === "rsa" ? CKM_RSA_PKCS : CKM_ECDSA }, key);
    return this.#library.C_Sign(this.#session, input, Buffer.alloc(1024));
  }
}
