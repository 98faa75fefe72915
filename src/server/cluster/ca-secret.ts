/** The CA that all replicas share: a Secret with the files of a plugged CA, kept in a private folder that the CA follows as it follows an operator's. */
import { readdirSync, rmSync } from "node:fs";
import { join } from "node:path";
import { makeCaFiles } from "../../ca/new-ca.ts";
import { ensurePrivateFolder, readPrivateFile, replacePrivateFile } from "../../ca/state-files.ts";
import type { Clock } from "../../core/clock.ts";
import { AppError } from "../../core/error.ts";
import type { TrustDomain } from "../../identity/trust-domain.ts";
import type { KeySpec } from "../../x509/key-spec.ts";
import { type Files, openSharedSecret, type SharedSecret, type SharedSecretOptions } from "./shared-secret.ts";

export interface CaSecretOptions extends Pick<SharedSecretOptions, "api" | "logger" | "secret" | "signal"> {
  readonly clock: Clock;
  /** The private folder for its files. */
  readonly folder: string;
  readonly trustDomain: TrustDomain;
  /** The kind of the key of a CA that is made; P-256 without. */
  readonly keySpec?: KeySpec | undefined;
}

/** Istio's names, and those of a TLS secret. */
const NAMES = ["ca-cert.pem", "ca-key.pem", "root-cert.pem", "cert-chain.pem", "tls.crt", "tls.key", "ca.crt"] as const;
/** Istio's name of a list that the operator brings: read to be refused. */
const LIST = "ca-crl.pem";
const BACKDATE_SECONDS = 120;

function checkFiles(files: Files): void {
  if (files[LIST] !== undefined)
    throw new AppError("invalid-configuration", `the Secret has \`${LIST}\`, and revocation lists of other CAs are not supported`, {
      help: "take it out: certificates that it lists would be accepted",
    });
  if (files["ca-key.pem"] !== undefined || files["tls.key"] !== undefined) return;
  const help = `it has the files of a CA, ${NAMES.slice(0, 4).join(", ")}; without the Secret one is made`;
  throw new AppError("invalid-configuration", "the Secret holds no CA", { help });
}

/** Writes what differs. */
function writeFiles(folder: string, files: Files): void {
  ensurePrivateFolder(folder);
  for (const [name, text] of Object.entries(files)) {
    if (readPrivateFile(join(folder, name)) !== text) replacePrivateFile(join(folder, name), text);
  }
  for (const name of readdirSync(folder)) if (files[name] === undefined) rmSync(join(folder, name));
}

/** Puts the files of the Secret into the folder, and keeps them the same while it changes. Throws `permission-denied`, and `invalid-configuration` for a Secret without a CA. */
export function openCaSecret({ folder, trustDomain, clock, keySpec, ...shared }: CaSecretOptions): Promise<SharedSecret> {
  return openSharedSecret({
    ...shared,
    keys: [...NAMES, LIST],
    make: () => makeCaFiles({ trustDomain, now: clock.now(), backdateSeconds: BACKDATE_SECONDS, keySpec }),
    take: (files) => {
      checkFiles(files);
      writeFiles(folder, files);
    },
  });
}
