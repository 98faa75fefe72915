/** Instance identity documents of AWS EC2, with their RSA-2048 signature (`…/instance-identity/rsa2048`). */
import type { Clock } from "../../core/clock.ts";
import { AppError } from "../../core/error.ts";
import { parseStrictObject } from "../../render/decide/tokens/strict-json.ts";
import { verifiedContent } from "../../x509/signed-data.ts";
import { type Account, accountOf, type Claims } from "./account-mapping.ts";
import type { AwsIssuer } from "./model.ts";

/** What a document proves. */
export interface AwsInstance {
  /** `ACCOUNT/INSTANCE`. */
  readonly instance: string;
  /** When the instance was started last; milliseconds. */
  readonly pendingAt: number;
  readonly account: Account;
}

const SKEW_MS = 5 * 60_000;
const PENDING_TIME = /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$/;
const ACCOUNT_ID = /^\d{12}$/;
const INSTANCE_ID = /^i-[0-9a-f]{8,17}$/;
/** The base64 of DER that begins with a sequence of more than 127 bytes, or of no definite length. */
const SHAPE = /^MI[A-Za-z0-9+/]{200,16000}={0,2}$/;

function refuse(reason: string): AppError {
  return new AppError("unauthenticated", `the instance identity document was refused: ${reason}`);
}

/** Whether a bearer credential is meant as one. */
export function isAwsDocument(credential: string): boolean {
  return SHAPE.test(credential);
}

function documentOf(credential: string, { keys }: AwsIssuer): Claims {
  let content: Uint8Array;
  try {
    content = verifiedContent(Buffer.from(credential, "base64"), keys);
  } catch (thrown) {
    throw refuse(AppError.from(thrown).message);
  }
  const document = parseStrictObject(content);
  if (document === undefined) throw refuse("it is not JSON");
  return document;
}

function pendingTime({ pendingTime: text }: Claims, { maxAgeMs }: AwsIssuer, now: number): number {
  const time = typeof text === "string" && PENDING_TIME.test(text) ? Date.parse(text) : Number.NaN;
  if (!Number.isFinite(time)) throw refuse("it does not say when its instance was started");
  if (time > now + SKEW_MS) throw refuse("its instance was started in the future");
  if (now - time > maxAgeMs) throw refuse("its instance was started too long ago");
  return time;
}

/** The instance that a credential (base64) is of, and its service account. Throws `unauthenticated`. */
export function verifyAwsDocument(credential: string, issuer: AwsIssuer, clock: Clock): AwsInstance {
  const document = documentOf(credential, issuer);
  const { accountId, instanceId } = document;
  const isNamed =
    typeof accountId === "string" && ACCOUNT_ID.test(accountId) && typeof instanceId === "string" && INSTANCE_ID.test(instanceId);
  if (!isNamed) throw refuse("it does not name its instance");
  const pendingAt = pendingTime(document, issuer, clock.now());
  return { instance: `${accountId}/${instanceId}`, pendingAt, account: accountOf(issuer.accounts, document) };
}
