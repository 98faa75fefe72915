import { openProof } from "../ca/log/proof.ts";
import { AppError } from "../core/error.ts";
import { certificateDigest, parseCertificates } from "../x509/certificate.ts";
import { KEY_OPTION, logVerifier, readTextFile } from "./ca-log.ts";
import type { Command, ParsedArguments } from "./command.ts";
import { EXIT } from "./exit.ts";
import { STATE_OPTION } from "./options.ts";

/** The SHA-256 of the first certificate of a file: a leaf stands before its chain. */
function digestOf(path: string): string {
  const [leaf] = parseCertificates(readTextFile(path));
  if (leaf === undefined) throw new AppError("invalid-argument", "the file has no certificate", { where: path });
  return certificateDigest(leaf);
}

function answer(parsed: ParsedArguments): string | undefined {
  const certificate = parsed.value("certificate") ?? "";
  if (certificate === "") {
    throw new AppError("invalid-argument", "a proof is of one certificate, and which is not said", {
      help: "name it: `--certificate FILE`, in PEM",
    });
  }
  try {
    const entry = openProof(readTextFile(parsed.positionals[0] ?? ""), logVerifier(parsed));
    if (entry.sha256 !== digestOf(certificate)) return "the proof is of another certificate";
    process.stdout.write(`in the log: serial ${entry.serial}, ${entry.identity}, issued ${new Date(entry.recordedAt).toISOString()}\n`);
    return undefined;
  } catch (thrown) {
    const error = AppError.from(thrown);
    if (error.code === "unauthenticated") return error.message;
    throw error;
  }
}

export const command: Command = {
  name: "ca verify-proof",
  summary: "Checks the proof that a certificate is in the log, with nothing running.",
  operands: "FILE",
  arity: [1, 1],
  options: {
    certificate: { type: "value", value: "FILE", doc: "needed: the certificate in PEM, alone or before its chain" },
    key: KEY_OPTION,
    state: STATE_OPTION,
  },
  examples: ["garrison ca verify-proof web.tlog-proof --certificate web.pem --key verifier.txt"],
  run: async (parsed) => {
    const refusal = answer(parsed);
    if (refusal === undefined) return EXIT.ok;
    process.stdout.write(`${refusal}\n`);
    return EXIT.no;
  },
};
