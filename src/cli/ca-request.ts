import type { TokenKeyKind } from "../ca/pkcs11/messages.ts";
import { openTokenSigner } from "../ca/pkcs11/token-signer.ts";
import { parsePkcs11Uri } from "../ca/pkcs11/uri.ts";
import { AppError } from "../core/error.ts";
import { buildCaCsr } from "../x509/csr-builder.ts";
import type { Command } from "./command.ts";
import { EXIT } from "./exit.ts";
import { createLogger } from "./log.ts";
import { LOG_OPTION, logLevel, required } from "./options.ts";

const KINDS: readonly TokenKeyKind[] = ["P-256", "P-384", "RSA"];

function kindOf(text: string): TokenKeyKind {
  const kind = KINDS.find((each) => each === text);
  if (kind !== undefined) return kind;
  throw new AppError("invalid-argument", `\`${text}\` is not a kind of key that is made in a token`, {
    help: `it is one of ${KINDS.join(", ")}`,
  });
}

export const command: Command = {
  name: "ca request",
  summary: "Prints a certificate request for a CA key in a token, for your own root to sign; makes the key where there is none.",
  options: {
    pkcs11: { type: "value", value: "URI", doc: "where the key is, as for `garrison serve --ca-pkcs11`" },
    "key-kind": { type: "value", value: "KIND", doc: `what is made where there is none: ${KINDS.join(", ")}`, default: "P-256" },
    organization: { type: "value", value: "NAME", doc: "the subject of the request", default: "Garrison" },
    "log-level": LOG_OPTION,
  },
  examples: [
    "garrison ca request --pkcs11 'pkcs11:token=garrison;object=ca-key?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/etc/garrison/pin'",
  ],
  run: async (parsed) => {
    const location = parsePkcs11Uri(required(parsed, "pkcs11"));
    const make = kindOf(required(parsed, "key-kind"));
    const signer = await openTokenSigner({ location, logger: createLogger(logLevel(parsed)), make });
    try {
      process.stdout.write(await buildCaCsr(signer, required(parsed, "organization")));
      return EXIT.ok;
    } finally {
      signer.close();
    }
  },
};
