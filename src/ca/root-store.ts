/** The first authority of a CA: its key and root certificate in the folder `ca` of the state folder. */
import { createPrivateKey, type KeyObject } from "node:crypto";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { AppError } from "../core/error.ts";
import type { TrustDomain } from "../identity/trust-domain.ts";
import { type Certificate, parseCertificates, publicKeyOf } from "../x509/certificate.ts";
import { Issuer, makeRoot } from "../x509/issuer.ts";
import { DEFAULT_KEY_SPEC, type KeySpec, makeKey } from "../x509/key-spec.ts";
import { formatPem } from "../x509/pem.ts";
import { verifySigned } from "../x509/signed.ts";
import { organizationName } from "../x509/tbs.ts";
import type { OwnAuthority } from "./authorities.ts";
import { authorityId } from "./authority-id.ts";
import { ensurePrivateFolder, readPrivateFile, writePrivateFolder } from "./state-files.ts";

const CERTIFICATE_FILE = "root-cert.pem";
const KEY_FILE = "ca-key.pem";

function broken(where: string, message: string, cause?: unknown): AppError {
  return new AppError("invalid-configuration", message, {
    where,
    help: "restore the CA folder from a backup, or move it away to start a new CA, which every workload must then trust anew",
    cause,
  });
}

/** What `parse` makes of a file's text; any failure says which file, and nothing of what is in it. */
function parseFile<T>(where: string, parse: () => T): T {
  try {
    return parse();
  } catch (error) {
    throw broken(where, `the file is damaged: ${error instanceof AppError ? error.message : "it is not a key"}`);
  }
}

/** Throws `invalid-configuration` unless the certificate is a root of this trust domain. */
export function checkRoot(where: string, root: Certificate, trustDomain: TrustDomain): void {
  if (!verifySigned(root.signed, publicKeyOf(root))) throw broken(where, "the CA certificate is not signed by its own key");
  if (Buffer.compare(root.subject, organizationName(trustDomain)) === 0) return;
  throw new AppError("invalid-configuration", `the CA certificate is not of the trust domain \`${trustDomain}\``, {
    where,
    help: "start with the trust domain that this state folder was made for, or with another state folder",
  });
}

interface FirstAuthority {
  readonly trustDomain: TrustDomain;
  readonly now: number;
  readonly backdateSeconds: number;
  /** P-256 without. */
  readonly keySpec?: KeySpec | undefined;
}

function create(folder: string, { trustDomain, now, backdateSeconds, keySpec = DEFAULT_KEY_SPEC }: FirstAuthority): void {
  if (readdirSync(folder).length > 0)
    throw broken(
      folder,
      `the CA folder has files, but neither \`${KEY_FILE}\` nor \`${CERTIFICATE_FILE}\`: was it started with \`--ca-folder\`?`,
    );
  const key = makeKey(keySpec);
  const root = makeRoot(key, { organization: trustDomain, now, backdateSeconds });
  writePrivateFolder(folder, {
    [CERTIFICATE_FILE]: formatPem("CERTIFICATE", root.der),
    [KEY_FILE]: key.export({ type: "pkcs8", format: "pem" }).toString(),
  });
}

/**
 * The authority whose key and certificate are in `folder`; where there is none, a new one is put there first, whole or not
 * at all. Throws `unsafe-permissions` when others may read the folder or a file, and `invalid-configuration` when a file is missing, damaged, or of
 * another trust domain.
 */
export function openFirstAuthority(folder: string, options: FirstAuthority): OwnAuthority {
  ensurePrivateFolder(folder);
  const paths = { certificate: join(folder, CERTIFICATE_FILE), key: join(folder, KEY_FILE) };
  const read = () => ({ certificate: readPrivateFile(paths.certificate), key: readPrivateFile(paths.key) });
  let texts = read();
  if (texts.certificate === undefined && texts.key === undefined) {
    create(folder, options);
    texts = read();
  }
  const { certificate: certificateText, key: keyText } = texts;
  if (certificateText === undefined) throw broken(paths.certificate, "the CA certificate is missing beside its key");
  if (keyText === undefined) throw broken(paths.key, "the CA key is missing beside its certificate");
  const [root, ...others] = parseFile(paths.certificate, () => parseCertificates(certificateText));
  if (root === undefined) throw broken(paths.certificate, "the file has no certificate");
  parseFile(paths.certificate, () => publicKeyOf(root));
  if (others.length > 0) throw broken(paths.certificate, `the file has ${others.length + 1} certificates where the CA's one belongs`);
  checkRoot(paths.certificate, root, options.trustDomain);
  const key: KeyObject = parseFile(paths.key, () => createPrivateKey(keyText));
  parseFile(paths.key, () => new Issuer(root, key));
  const since = root.notBefore + options.backdateSeconds * 1000;
  return { id: authorityId(root), certificate: root, key, keyFile: KEY_FILE, state: "active", since };
}
