/** A trust bundle as domains exchange it: a JSON Web Key Set with certificates and SPIFFE's members (SPIFFE Trust Domain and Bundle §4). */
import { AppError } from "../../core/error.ts";
import type { TrustBundle } from "../../identity/trust-bundle.ts";
import type { TrustDomain } from "../../identity/trust-domain.ts";
import { type Certificate, parseCertificate, parseCertificates, publicKeyOf } from "../../x509/certificate.ts";
import { formatPem } from "../../x509/pem.ts";

/** A bundle of another domain, whose numbers may be left out. */
export interface ForeignBundle extends Pick<TrustBundle, "roots" | "jwks"> {
  readonly sequence: number | undefined;
  readonly refreshHintSeconds: number | undefined;
}

type Members = Readonly<Record<string, unknown>>;

const MAX_KEYS = 128;
const MAX_ROOTS = 32;
const MAX_JWT_KEYS = 64;
const BASE64 = /^[A-Za-z0-9+/]+={0,2}$/;
/** What of a key is public, of the kinds that JWT-SVIDs are signed with. */
const PUBLIC = { EC: ["kty", "kid", "use", "alg", "crv", "x", "y"], RSA: ["kty", "kid", "use", "alg", "n", "e"] } as const;

/** The bundle's document. */
export function formatBundle({ roots, jwks, sequence, refreshHintSeconds }: TrustBundle): string {
  const x509 = parseCertificates(roots).map((root) => ({
    ...publicKeyOf(root).export({ format: "jwk" }),
    use: "x509-svid",
    x5c: [Buffer.from(root.der).toString("base64")],
  }));
  const jwt = jwks === "" ? [] : (JSON.parse(jwks) as { readonly keys: readonly unknown[] }).keys;
  return `${JSON.stringify({ keys: [...x509, ...jwt], spiffe_sequence: sequence, spiffe_refresh_hint: refreshHintSeconds }, null, 2)}\n`;
}

function refuse(why: string): AppError {
  return new AppError("invalid-argument", `the bundle is refused: ${why}`);
}

function isMembers(value: unknown): value is Members {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function parseMembers(text: string): Members {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw refuse("it is not JSON");
  }
  if (isMembers(value)) return value;
  throw refuse("it is no JSON object");
}

/** §4.2.1: one certificate, of a CA; a name in it is of the domain itself. */
function rootOf({ x5c }: Members, trustDomain: TrustDomain): Certificate {
  const [text, ...others]: readonly unknown[] = Array.isArray(x5c) ? x5c : [];
  if (typeof text !== "string" || others.length > 0 || !BASE64.test(text))
    throw refuse("a key for X.509-SVIDs has not exactly one certificate");
  let root: Certificate;
  try {
    root = parseCertificate(Buffer.from(text, "base64"));
    publicKeyOf(root);
  } catch (thrown) {
    throw refuse(`a certificate cannot be used: ${AppError.from(thrown).message}`);
  }
  if (!root.isCa) throw refuse("a certificate is not a CA's");
  const stray = root.names.find(({ kind, value }) => kind === "uri" && !isOf(value, trustDomain));
  if (stray !== undefined) throw refuse("a certificate is of another trust domain");
  return root;
}

function isOf(uri: string, trustDomain: TrustDomain): boolean {
  return uri === `spiffe://${trustDomain}` || uri.startsWith(`spiffe://${trustDomain}/`);
}

/** The public members alone; undefined for a key that has no name or is of a kind that JWT-SVIDs have not. */
function jwtKeyOf(key: Members): Members | undefined {
  const { kty, kid } = key;
  if ((kty !== "EC" && kty !== "RSA") || typeof kid !== "string" || kid === "") return undefined;
  return Object.fromEntries(PUBLIC[kty].flatMap((name) => (typeof key[name] === "string" ? [[name, key[name]]] : [])));
}

function numberOf(members: Members, name: string): number | undefined {
  const value = members[name];
  if (value === undefined || value === null) return undefined;
  if (typeof value === "number" && Number.isSafeInteger(value) && value >= 0) return value;
  throw refuse(`\`${name}\` is no whole number`);
}

/**
 * The bundle of a domain from its document. Keys of other uses, or of none, are left out (§4.2). One without a key is a
 * bundle too: nobody of the domain is trusted. Throws `invalid-argument`.
 */
export function parseBundle(text: string, trustDomain: TrustDomain): ForeignBundle {
  const members = parseMembers(text);
  const { keys } = members;
  if (!Array.isArray(keys)) throw refuse("it has no `keys`");
  if (keys.length > MAX_KEYS) throw refuse(`it has more than ${MAX_KEYS} keys`);
  const known = (keys as readonly unknown[]).filter(isMembers);
  const roots = known.filter(({ use }) => use === "x509-svid").map((key) => rootOf(key, trustDomain));
  if (roots.length > MAX_ROOTS) throw refuse(`it has more than ${MAX_ROOTS} certificates`);
  const jwtKeys = known.filter(({ use }) => use === "jwt-svid").flatMap((key) => jwtKeyOf(key) ?? []);
  if (jwtKeys.length > MAX_JWT_KEYS) throw refuse(`it has more than ${MAX_JWT_KEYS} keys of JWT-SVIDs`);
  return {
    roots: roots.map(({ der }) => formatPem("CERTIFICATE", der)).join(""),
    jwks: jwtKeys.length === 0 ? "" : JSON.stringify({ keys: jwtKeys }),
    sequence: numberOf(members, "spiffe_sequence"),
    refreshHintSeconds: numberOf(members, "spiffe_refresh_hint"),
  };
}
