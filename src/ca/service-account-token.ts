/** Service account tokens of the control plane's own making, with the claims of Kubernetes' (RFC 7519; Kubernetes "bound service account tokens"). */
import { createPrivateKey, createPublicKey, type KeyObject, randomUUID } from "node:crypto";
import { join } from "node:path";
import { errors, type JWSHeaderParameters, type JWTPayload, jwtVerify, SignJWT } from "jose";
import type { Clock } from "../core/clock.ts";
import { AppError } from "../core/error.ts";
import { Recent } from "../core/recent.ts";
import { parseServiceAccount } from "../identity/spiffe-id.ts";
import { generateKey } from "../x509/csr-builder.ts";
import { FormerTokenKeys, tokenKeyId } from "./former-token-keys.ts";
import { ensurePrivateFolder, readPrivateFile, replacePrivateFile, writePrivateFile } from "./state-files.ts";

export interface ServiceAccount {
  readonly namespace: string;
  readonly name: string;
}

export interface MintRequest extends ServiceAccount {
  readonly audience: string;
  readonly ttlSeconds: number;
}

/** What came of a change of keys. */
export interface TokenRotation {
  /** Of the key that signs from now on. */
  readonly keyId: string;
  /** Keys whose tokens are refused from now on. */
  readonly refusedKeys: number;
  /** Milliseconds: when the last token of the key before must have expired; absent where its tokens are refused. */
  readonly formerUntil?: number;
}

const ALGORITHM = "ES256";
const KEY_FILE = "token-key.pem";
const SUBJECT_PREFIX = "system:serviceaccount:";
const MAX_TTL_SECONDS = 90 * 24 * 3600;
/** Kubernetes' tokens have about 1 KiB. */
const MAX_TOKEN = 8192;
/** Tokens of which it is remembered that they hold. */
const MAX_VERIFIED = 1_024;
const COMPACT = /^[\w-]+\.[\w-]+\.[\w-]+$/;

/** What a token that holds says. */
interface Verified {
  readonly account: ServiceAccount;
  readonly audience: string;
  /** Seconds: the token is good from `nbf` until just before `exp`. */
  readonly nbf: number;
  readonly exp: number;
}

/** Why a token was refused: all that a caller is told. */
export type TokenFlaw =
  | "too-large"
  | "malformed"
  | "wrong-algorithm"
  | "bad-signature"
  | "wrong-issuer"
  | "wrong-audience"
  | "expired"
  | "not-yet-valid"
  | "wrong-subject";

const FLAW_OF_CLAIM: ReadonlyMap<string, TokenFlaw> = new Map([
  ["iss", "wrong-issuer"],
  ["aud", "wrong-audience"],
  ["nbf", "not-yet-valid"],
  ["sub", "wrong-subject"],
]);

function refused(flaw: TokenFlaw): AppError {
  return new AppError("unauthenticated", `the token was refused: ${flaw}`);
}

/** jose checks the signature before any claim, so that only holders of a real token learn what is wrong with its claims. */
function flawOf(error: unknown): TokenFlaw {
  if (error instanceof errors.JWTExpired) return "expired";
  if (error instanceof errors.JWTClaimValidationFailed) return FLAW_OF_CLAIM.get(error.claim) ?? "malformed";
  if (error instanceof errors.JWSSignatureVerificationFailed) return "bad-signature";
  if (error instanceof errors.JOSEAlgNotAllowed) return "wrong-algorithm";
  return "malformed";
}

/** The account that both `sub` and the `kubernetes.io` claim must name. A signature says nothing of the claims' types. */
function accountOf(payload: JWTPayload): ServiceAccount {
  const subject: unknown = payload.sub;
  if (typeof subject !== "string" || !subject.startsWith(SUBJECT_PREFIX)) throw refused("wrong-subject");
  const [namespace = "", name = "", ...rest] = subject.slice(SUBJECT_PREFIX.length).split(":");
  if (rest.length > 0) throw refused("wrong-subject");
  const expected = JSON.stringify({ namespace, serviceaccount: { name } });
  if (JSON.stringify(payload["kubernetes.io"]) !== expected) throw refused("wrong-subject");
  try {
    return parseServiceAccount(`${namespace}/${name}`);
  } catch {
    throw refused("wrong-subject");
  }
}

function openKey(stateFolder: string): KeyObject {
  ensurePrivateFolder(stateFolder);
  const path = join(stateFolder, KEY_FILE);
  const text = readPrivateFile(path);
  if (text === undefined) {
    const key = generateKey();
    writePrivateFile(path, key.export({ type: "pkcs8", format: "pem" }).toString());
    return key;
  }
  try {
    const key = createPrivateKey(text);
    if (key.asymmetricKeyDetails?.namedCurve === "prime256v1") return key;
  } catch {
    // Told below, without the parser's words about a secret.
  }
  throw new AppError("invalid-configuration", "the file is not a P-256 private key", {
    where: path,
    help: "restore it from a backup, or move it away: tokens minted so far are refused then",
  });
}

/** Makes and checks the tokens with which workloads ask for their first certificate. */
export class TokenIssuer {
  readonly issuer: string;
  #key: KeyObject;
  #publicKey: KeyObject;
  #keyId: string;
  readonly #path: string;
  readonly #former: FormerTokenKeys;
  readonly #clock: Clock;
  /** By the keys of now: others begin anew. An agent brings its token with each of its calls, and a node proxy for each of its workloads. */
  #verified = new Recent<string, Verified>(MAX_VERIFIED);

  /**
   * Opens the ES256 key in the state folder; the first time, makes it. `issuer` is the `iss` claim. Throws `unsafe-permissions`
   * and `invalid-configuration`.
   */
  constructor(options: { readonly stateFolder: string; readonly issuer: string; readonly clock: Clock }) {
    this.issuer = options.issuer;
    this.#path = join(options.stateFolder, KEY_FILE);
    this.#key = openKey(options.stateFolder);
    this.#publicKey = createPublicKey(this.#key);
    this.#keyId = tokenKeyId(this.#publicKey);
    this.#former = new FormerTokenKeys(options.stateFolder);
    this.#clock = options.clock;
  }

  /** Lets a new key sign. What older keys signed is good until it expires, or not any more: then `refusedKeys` says of how many keys. */
  rotate({ revoke }: { readonly revoke: boolean }): TokenRotation {
    const now = this.#clock.now();
    const key = generateKey();
    const publicKey = createPublicKey(key);
    const until = now + MAX_TTL_SECONDS * 1000;
    // First what is to be verified: ended in between, the old key signs on, and is known twice.
    const refusedKeys = revoke ? this.#former.clear(now) + 1 : 0;
    if (!revoke) this.#former.add(this.#publicKey, until, now);
    replacePrivateFile(this.#path, key.export({ type: "pkcs8", format: "pem" }).toString());
    [this.#key, this.#publicKey, this.#keyId] = [key, publicKey, tokenKeyId(publicKey)];
    this.#verified = new Recent(MAX_VERIFIED);
    return { keyId: this.#keyId, refusedKeys, ...(revoke ? {} : { formerUntil: until }) };
  }

  /** A token for a service account. Throws `invalid-argument` for a name that is none, an empty audience, or a life that is not 1 s to 90 days. */
  async mint({ namespace, name, audience, ttlSeconds }: MintRequest): Promise<string> {
    parseServiceAccount(`${namespace}/${name}`);
    if (audience === "") throw new AppError("invalid-argument", "the audience of a token is empty");
    if (!Number.isInteger(ttlSeconds) || ttlSeconds < 1 || ttlSeconds > MAX_TTL_SECONDS) {
      throw new AppError(
        "invalid-argument",
        `the token's TTL ${ttlSeconds} s is not a whole number of seconds from 1 to ${MAX_TTL_SECONDS}`,
      );
    }
    const now = Math.floor(this.#clock.now() / 1000);
    return new SignJWT({ "kubernetes.io": { namespace, serviceaccount: { name } } })
      .setProtectedHeader({ alg: ALGORITHM, kid: this.#keyId })
      .setIssuer(this.issuer)
      .setSubject(`${SUBJECT_PREFIX}${namespace}:${name}`)
      .setAudience([audience])
      .setIssuedAt(now)
      .setNotBefore(now)
      .setExpirationTime(now + ttlSeconds)
      .setJti(randomUUID())
      .sign(this.#key);
  }

  /** The service account of a token for `audience`. Throws `unauthenticated` with a `TokenFlaw` for whatever else it is given. */
  async verify(token: string, { audience }: { readonly audience: string }): Promise<ServiceAccount> {
    if (token.length > MAX_TOKEN) throw refused("too-large");
    // What is verified while the keys change is known of those before.
    const verified = this.#verified;
    const known = verified.get(token);
    if (known !== undefined && known.audience === audience && this.#isInTime(known)) return known.account;
    if (!COMPACT.test(token)) throw refused("malformed");
    const payload = await this.#payload(token, audience);
    const account = accountOf(payload);
    const { nbf = Number.POSITIVE_INFINITY, exp = 0 } = payload;
    verified.set(token, { account, audience, nbf, exp });
    return account;
  }

  #isInTime({ nbf, exp }: Verified): boolean {
    const now = Math.floor(this.#clock.now() / 1000);
    return nbf <= now && now < exp;
  }

  async #payload(token: string, audience: string): Promise<JWTPayload> {
    try {
      const keyOf = ({ kid }: JWSHeaderParameters) => this.#former.find(kid, this.#clock.now())?.publicKey ?? this.#publicKey;
      const { payload } = await jwtVerify(token, keyOf, {
        algorithms: [ALGORITHM],
        issuer: this.issuer,
        audience,
        requiredClaims: ["exp", "nbf", "sub"],
        currentDate: new Date(this.#clock.now()),
      });
      return payload;
    } catch (error) {
      throw refused(flawOf(error));
    }
  }
}
