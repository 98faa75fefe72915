/** A CA whose key is in a token: its certificates are the operator's, or a root that it signs for itself. */
import { join } from "node:path";
import type { Clock } from "../../core/clock.ts";
import { AppError } from "../../core/error.ts";
import type { Logger } from "../../core/logger.ts";
import type { TrustDomain } from "../../identity/trust-domain.ts";
import { parseCertificates } from "../../x509/certificate.ts";
import { makeSignerRoot } from "../../x509/issuer.ts";
import { formatPem } from "../../x509/pem.ts";
import { type CaSource, fixedSource } from "../ca-source.ts";
import { BACKDATE_SECONDS } from "../issue-checks.ts";
import { PluggedCa } from "../plugged-ca.ts";
import { makeSigningSet } from "../signing-set.ts";
import { ensurePrivateFolder, readPrivateFile, writePrivateFile } from "../state-files.ts";
import { openTokenSigner, type TokenSigner } from "./token-signer.ts";
import type { KeyLocation } from "./uri.ts";

export interface TokenCaOptions {
  readonly location: KeyLocation;
  readonly stateFolder: string;
  readonly trustDomain: TrustDomain;
  readonly clock: Clock;
  readonly logger: Logger;
  /** The folder of the CA's certificates; without it the key signs a root of its own on the first start. */
  readonly caFolder?: string;
}

const ROOT_FILE = "token-root-cert.pem";

function rootPath({ stateFolder }: TokenCaOptions): string {
  ensurePrivateFolder(stateFolder);
  const folder = join(stateFolder, "ca");
  ensurePrivateFolder(folder);
  return join(folder, ROOT_FILE);
}

async function ownRoot(signer: TokenSigner, path: string, { trustDomain, clock, logger }: TokenCaOptions): Promise<CaSource> {
  const now = clock.now();
  if (readPrivateFile(path) === undefined) {
    const root = await makeSignerRoot(signer, { organization: trustDomain, now, backdateSeconds: BACKDATE_SECONDS });
    writePrivateFile(path, formatPem("CERTIFICATE", root.der));
    logger.log("info", "the token's key has signed a root of its own", { serial: root.serial });
  }
  try {
    const [certificate, ...others] = parseCertificates(readPrivateFile(path) ?? "");
    if (certificate === undefined || others.length > 0)
      throw new AppError("invalid-configuration", "the file has more than one certificate");
    return fixedSource(signer.name, makeSigningSet({ certificate, key: signer, intermediates: [], roots: [certificate] }, now));
  } catch (thrown) {
    const { message } = AppError.from(thrown);
    throw new AppError("invalid-configuration", message, {
      where: path,
      help: "restore it from a backup, or name the key that signed it",
      cause: thrown,
    });
  }
}

/** The token's problem before that of the files. */
function joined(signer: TokenSigner, certificates: CaSource): CaSource {
  return {
    name: signer.name,
    get current() {
      return certificates.current;
    },
    get problem() {
      return signer.problem === undefined ? certificates.problem : `the token does not sign: ${signer.problem}`;
    },
    follow: (listener) => certificates.follow(listener),
    close() {
      certificates.close();
      signer.close();
    },
  };
}

/**
 * Opens the CA of a token's key. A key is made there only with a root of its own, the first time. Throws `unavailable` when the token is not there, `not-found` when it has no
 * such key, `invalid-configuration` when the certificates are not of the key.
 */
export async function openTokenCa(options: TokenCaOptions): Promise<CaSource> {
  const { location, logger, clock, caFolder } = options;
  const path = caFolder === undefined ? rootPath(options) : undefined;
  const isFirst = path !== undefined && readPrivateFile(path) === undefined;
  const signer = await openTokenSigner({ location, logger, ...(isFirst ? { make: "P-256" as const } : {}) });
  try {
    if (path !== undefined) return joined(signer, await ownRoot(signer, path, options));
    return joined(signer, new PluggedCa({ folder: caFolder ?? "", clock, logger, signer }));
  } catch (error) {
    signer.close();
    throw error;
  }
}
