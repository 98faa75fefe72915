/** The proof that a certificate is in the log, as a text that needs nothing else to be checked (C2SP tlog-proof). */
import { AppError } from "../../core/error.ts";
import { type CertificateEntry, decodeEntry, isNote } from "./entry.ts";
import { HASH_BYTES, leafHash, rootFromProof } from "./merkle.ts";
import { type NoteVerifier, openCheckpoint } from "./note.ts";

const HEADER = "c2sp.org/tlog-proof@v1";
/** A tree of 2^63 leaves is 63 high. */
const MAX_HASHES = 63;
const MAX_TEXT = 64 * 1024;

const base64 = (bytes: Uint8Array): string => Buffer.from(bytes).toString("base64");

export interface InclusionProof {
  readonly entry: Uint8Array;
  readonly index: number;
  readonly hashes: readonly Uint8Array[];
  /** A signed note. */
  readonly checkpoint: string;
}

/** The entry itself is the extra data. */
export function formatProof({ entry, index, hashes, checkpoint }: InclusionProof): string {
  return [HEADER, `extra ${base64(entry)}`, `index ${index}`, ...hashes.map(base64), "", checkpoint].join("\n");
}

/** The entry that a proof proves, under this verifier. Throws `invalid-argument` for a text that is no proof, `unauthenticated` for one that does not hold. */
export function openProof(text: string, verifier: NoteVerifier): CertificateEntry {
  const bad = new AppError("invalid-argument", "the text is no proof of inclusion", {
    help: `it begins with \`${HEADER}\`, as \`garrison ca prove\` prints it`,
  });
  const end = text.indexOf("\n\n");
  if (text.length > MAX_TEXT || end < 0) throw bad;
  const [header, extra = "", index = "", ...lines] = text.slice(0, end).split("\n");
  const entry = Buffer.from(/^extra (\S+)$/.exec(extra)?.[1] ?? "", "base64");
  const at = /^index (0|[1-9]\d{0,14})$/.exec(index)?.[1];
  const hashes = lines.map((line) => Buffer.from(line, "base64"));
  if (header !== HEADER || at === undefined || hashes.length > MAX_HASHES || hashes.some(({ length }) => length !== HASH_BYTES)) throw bad;
  const { size, root } = openCheckpoint(text.slice(end + 2), verifier);
  const proved = rootFromProof(leafHash(entry), Number(at), size, hashes);
  if (proved === undefined || Buffer.compare(proved, root) !== 0)
    throw new AppError("unauthenticated", "the proof does not lead to the root of its checkpoint");
  const decoded = decodeEntry(entry);
  if (!isNote(decoded)) return decoded;
  throw new AppError("invalid-argument", "the proof is of an entry that is of no certificate");
}
