/** The Secret of a service account as Citadel made it: `istio.NAME` of type `istio.io/key-and-cert`, with PEM files that applications mount. */
import { createPrivateKey } from "node:crypto";
import { BACKDATE_SECONDS } from "../../ca/issue-checks.ts";
import { AppError } from "../../core/error.ts";
import { formatSpiffeId } from "../../identity/spiffe-id.ts";
import { type ApiObject, isPlain } from "../../sources/kubernetes/api-objects.ts";
import type { Account } from "../../sources/kubernetes/found-objects.ts";
import { ACCOUNT_SECRET_TYPE } from "../../sources/kubernetes/watched-kinds.ts";
import { type Certificate, parseCertificates } from "../../x509/certificate.ts";
import { verifyChain } from "../../x509/chain.ts";
import { spkiOf } from "../../x509/csr-builder.ts";

/** What is in it, as text by Citadel's names. */
export interface AccountFiles {
  /** PKCS #8. */
  readonly "key.pem": string;
  /** The leaf, then its intermediates. */
  readonly "cert-chain.pem": string;
  readonly "root-cert.pem": string;
}

/** Whoever else makes Secrets of the type does not put this label on them: without it a Secret is left alone. */
const ACCOUNT_SECRET_LABEL = "garrison.dev/citadel";
const PREFIX = "istio.";
const ACCOUNT_ANNOTATION = "istio.io/service-account.name";

export function secretNameOf({ name }: Pick<Account, "name">): string {
  return `${PREFIX}${name}`;
}

function encoded(files: object): Readonly<Record<string, string>> {
  return Object.fromEntries(Object.entries(files).map(([name, text]) => [name, Buffer.from(String(text)).toString("base64")]));
}

/** The object to create. It goes with the account, by the cluster's own garbage collector too. */
export function newSecret({ namespace, name, uid }: Account, files: Partial<AccountFiles>): unknown {
  return {
    apiVersion: "v1",
    kind: "Secret",
    type: ACCOUNT_SECRET_TYPE,
    metadata: {
      namespace,
      name: secretNameOf({ name }),
      labels: { [ACCOUNT_SECRET_LABEL]: "true" },
      annotations: { [ACCOUNT_ANNOTATION]: name },
      ownerReferences: [{ apiVersion: "v1", kind: "ServiceAccount", name, uid }],
    },
    data: encoded(files),
  };
}

function uidOf({ body }: ApiObject): unknown {
  return isPlain(body.metadata) ? body.metadata.uid : undefined;
}

/** What a write depends on: the very Secret that was looked at. */
export function preconditions(secret: ApiObject): { readonly uid: unknown; readonly resourceVersion: string } {
  return { uid: uidOf(secret), resourceVersion: secret.metadata.resourceVersion };
}

/** A merge patch that puts other files into the Secret that was looked at. */
export function patchOf(secret: ApiObject, files: Partial<AccountFiles>): unknown {
  return { metadata: preconditions(secret), data: encoded(files) };
}

/** Whether it was made here. */
export function isOurs({ metadata: { name }, body }: ApiObject): boolean {
  const { labels } = isPlain(body.metadata) ? body.metadata : {};
  return body.type === ACCOUNT_SECRET_TYPE && name.startsWith(PREFIX) && isPlain(labels) && ACCOUNT_SECRET_LABEL in labels;
}

/** Why it cannot be mended, only made anew; undefined where it can. */
export function whyReplace({ body }: ApiObject, { name, uid }: Account): string | undefined {
  if (body.immutable === true) return "it was made immutable";
  const { ownerReferences } = isPlain(body.metadata) ? body.metadata : {};
  const owners: readonly unknown[] = Array.isArray(ownerReferences) ? ownerReferences : [];
  const owned = owners.some((owner) => isPlain(owner) && owner.kind === "ServiceAccount" && owner.name === name && owner.uid === uid);
  return owned ? undefined : "it is not owned by the service account of now";
}

/** A file of the Secret; empty where it has none. */
export function fileOf({ body }: ApiObject, name: keyof AccountFiles): string {
  const text = isPlain(body.data) ? body.data[name] : undefined;
  return typeof text === "string" ? Buffer.from(text, "base64").toString("utf8") : "";
}

function spkiIn(keyPem: string): Uint8Array {
  try {
    return spkiOf(createPrivateKey(keyPem));
  } catch {
    // What the library says could quote the key.
    throw new AppError("invalid-argument", "its key cannot be read");
  }
}

/** The leaf of a Secret that an application can use: its key is the leaf's, and its chain leads by itself to one of `roots`. Throws what is wrong with it. */
export function usableLeaf(secret: ApiObject, identity: string, roots: readonly Certificate[], time: number): Certificate {
  const [leaf, ...intermediates] = parseCertificates(fileOf(secret, "cert-chain.pem"));
  if (leaf === undefined) throw new AppError("invalid-argument", "it has no certificate");
  const verified = verifyChain({ leaf, intermediates, roots, time, purpose: "client" });
  if (formatSpiffeId(verified.identity) !== identity) throw new AppError("invalid-argument", "its certificate has another identity");
  if (Buffer.compare(spkiIn(fileOf(secret, "key.pem")), leaf.spki) === 0) return leaf;
  throw new AppError("invalid-argument", "its key is not that of its certificate");
}

/** When it is to be renewed: at 45 to 55 % of its life, by its serial number, so that many that were issued at one time are not renewed at one time. */
export function renewalTime({ notBefore, notAfter, serial }: Certificate): number {
  const from = Math.min(notBefore + BACKDATE_SECONDS * 1000, notAfter);
  const spread = Number.parseInt(serial.slice(-8), 16) / 2 ** 32;
  return from + (notAfter - from) * (0.45 + 0.1 * spread);
}
