import { openProof } from "../ca/log/proof.ts";
import { AppError } from "../core/error.ts";
import { certificateDigest, parseCertificates } from "../x509/certificate.ts";
import { jsonLine } from "./authz/json-line.ts";
import { KEY_OPTION, logVerifier, readTextFile } from "./ca-log.ts";
import type { Command, ParsedArguments } from "./command.ts";
import { EXIT } from "./exit.ts";
import { JSON_OPTION, STATE_OPTION } from "./options.ts";

/** The SHA-256 of the first certificate of a file: a leaf stands before its chain. */
function digestOf(path: string): string {
  const [leaf] = parseCertificates(readTextFile(path));
  if (leaf === undefined) throw new AppError("invalid-argument", "the file has no certificate", { where: path });
  return certificateDigest(leaf);
}

interface ProofReport {
  readonly serial?: string;
  readonly identity?: string;
  /** Milliseconds. */
  readonly recordedAt?: number;
  /** Why it proves nothing of this certificate; absent where it does. */
  readonly problem?: string;
}

function reportOf(parsed: ParsedArguments): ProofReport {
  const certificate = parsed.value("certificate") ?? "";
  if (certificate === "") {
    throw new AppError("invalid-argument", "a proof is of one certificate, and which is not said", {
      help: "name it: `--certificate FILE`, in PEM",
    });
  }
  try {
    const { sha256, serial, identity, recordedAt } = openProof(readTextFile(parsed.positionals[0] ?? ""), logVerifier(parsed));
    return sha256 === digestOf(certificate) ? { serial, identity, recordedAt } : { problem: "the proof is of another certificate" };
  } catch (thrown) {
    const error = AppError.from(thrown);
    if (error.code === "unauthenticated") return { problem: error.message };
    throw error;
  }
}

function describe({ serial, identity, recordedAt = 0, problem }: ProofReport): string {
  return problem === undefined
    ? `in the log: serial ${serial}, ${identity}, issued ${new Date(recordedAt).toISOString()}\n`
    : `${problem}\n`;
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
    json: JSON_OPTION,
  },
  examples: ["garrison ca verify-proof web.tlog-proof --certificate web.pem --key verifier.txt"],
  run: async (parsed) => {
    const report = reportOf(parsed);
    process.stdout.write(parsed.flag("json") ? jsonLine(report) : describe(report));
    return report.problem === undefined ? EXIT.ok : EXIT.no;
  },
};
