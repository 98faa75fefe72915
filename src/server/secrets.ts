/** Which Secrets can be used: what a proxy would refuse never reaches it, and the last good one stays in force. */
import { createPrivateKey, type KeyObject, X509Certificate } from "node:crypto";
import { createSecureContext } from "node:tls";
import type { Diagnostic } from "../core/diagnostic.ts";
import { AppError } from "../core/error.ts";
import type { MeshObject, SecretObject } from "../policy/model.ts";
import { objectKey } from "../policy/model.ts";

const CURVES: ReadonlySet<unknown> = new Set(["prime256v1", "secp384r1", "secp521r1"]);
/** NIST SP 800-131A; Envoy takes none below either. */
const MIN_RSA_BITS = 2048;

/** OpenSSL's own words hold nothing of a key, but they say little: ours name the part. */
function attempt<T>(what: string, parse: () => T): T {
  try {
    return parse();
  } catch (thrown) {
    throw new AppError("invalid-argument", `${what} cannot be read`, { cause: thrown });
  }
}

function checkKey(key: KeyObject): void {
  const { asymmetricKeyType: type, asymmetricKeyDetails: details } = key;
  const fine = (type === "rsa" && (details?.modulusLength ?? 0) >= MIN_RSA_BITS) || (type === "ec" && CURVES.has(details?.namedCurve));
  if (!fine) throw new AppError("invalid-argument", "`tls.key` is neither RSA of 2048 bits or more nor ECDSA on P-256, P-384 or P-521");
}

function checkSecret({ chain, key: secret, ca, crl }: SecretObject): void {
  if ((chain === undefined) !== (secret === undefined)) throw new AppError("invalid-argument", "of `tls.crt` and `tls.key` one is missing");
  if (chain !== undefined && secret !== undefined) {
    const leaf = attempt("`tls.crt`", () => new X509Certificate(chain));
    const key = attempt("`tls.key`", () => createPrivateKey(secret.reveal()));
    checkKey(key);
    if (!leaf.checkPrivateKey(key))
      throw new AppError("invalid-argument", "`tls.key` is not the key of the first certificate in `tls.crt`");
    attempt("the chain in `tls.crt`", () => createSecureContext({ cert: chain, key: secret.reveal() }));
  }
  if (ca !== undefined) {
    attempt("`ca.crt`", () => new X509Certificate(ca));
    attempt("`ca.crt`", () => createSecureContext({ ca }));
  }
  if (crl !== undefined) attempt("`ca.crl`", () => createSecureContext({ crl }));
}

function told(secret: SecretObject, thrown: unknown, kept: boolean): Diagnostic {
  const { namespace, name, place } = secret.meta;
  return {
    code: "GAR0007",
    message: `Secret \`${namespace}/${name}\` cannot be used: ${AppError.from(thrown).message}`,
    place,
    help: kept ? "the last good one stays in force until it is mended" : "the servers that name it stay closed until it is mended",
  };
}

export interface Checked<O> {
  /** The same list where all of them can be used. */
  readonly objects: readonly O[];
  readonly diagnostics: readonly Diagnostic[];
}

export class SecretCheck {
  #good: ReadonlyMap<string, SecretObject> = new Map();

  /** The same objects with Secrets that can be used. */
  check<O extends MeshObject>(objects: readonly O[]): Checked<O | SecretObject> {
    const diagnostics: Diagnostic[] = [];
    const good = new Map<string, SecretObject>();
    const usable = objects.flatMap((object): O | SecretObject | readonly O[] => {
      if (object.kind !== "Secret") return object;
      const key = objectKey(object);
      try {
        checkSecret(object);
        good.set(key, object);
      } catch (thrown) {
        const before = this.#good.get(key);
        diagnostics.push(told(object, thrown, before !== undefined));
        if (before !== undefined) good.set(key, before);
      }
      return good.get(key) ?? [];
    });
    this.#good = good;
    return { objects: diagnostics.length === 0 ? objects : usable, diagnostics };
  }
}
