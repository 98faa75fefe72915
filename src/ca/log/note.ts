/** Signed notes with Ed25519 (C2SP signed-note), and the checkpoints that they carry (C2SP tlog-checkpoint). */
import { createPublicKey, hash, type KeyObject, sign, verify } from "node:crypto";
import { AppError } from "../../core/error.ts";

const ED25519 = 0x01;
const KEY_BYTES = 32;
const ID_BYTES = 4;
/** Larger than any checkpoint with its signatures. */
const MAX_NOTE = 16 * 1024;
const NAME = /^[^\s+]{1,255}$/u;

/** Who signs a log's checkpoints. */
export interface NoteVerifier {
  readonly name: string;
  readonly publicKey: KeyObject;
  /** Four bytes that tell keys of one name apart. */
  readonly keyId: Uint8Array;
}

export interface Checkpoint {
  readonly origin: string;
  readonly size: number;
  readonly root: Uint8Array;
}

function rawKey(publicKey: KeyObject): Uint8Array {
  return publicKey.export({ type: "spki", format: "der" }).subarray(-KEY_BYTES);
}

export function noteVerifier(name: string, publicKey: KeyObject): NoteVerifier {
  const keyId = hash("sha256", Buffer.concat([Buffer.from(`${name}\n`), Buffer.from([ED25519]), rawKey(publicKey)]), "buffer");
  return { name, publicKey, keyId: keyId.subarray(0, ID_BYTES) };
}

/** A verifier as text: `NAME+HASH+KEY`. */
export function formatVerifier({ name, publicKey, keyId }: NoteVerifier): string {
  const key = Buffer.concat([Buffer.from([ED25519]), rawKey(publicKey)]);
  return `${name}+${Buffer.from(keyId).toString("hex")}+${key.toString("base64")}`;
}

/** Throws `invalid-argument` unless the text is the verifier of an Ed25519 key. */
export function parseVerifier(text: string): NoteVerifier {
  const bad = new AppError("invalid-argument", "the text is not the verifier of a log", {
    help: "it looks like NAME+HASH+KEY, as `ca/log/verifier` of the state folder has it",
  });
  const [name = "", id = "", ...rest] = text.trim().split("+");
  const key = Buffer.from(rest.join("+"), "base64");
  if (!NAME.test(name) || key.length !== KEY_BYTES + 1 || key[0] !== ED25519) throw bad;
  const spki = Buffer.concat([Buffer.from("302a300506032b6570032100", "hex"), key.subarray(1)]);
  const verifier = noteVerifier(name, createPublicKey({ key: spki, format: "der", type: "spki" }));
  if (Buffer.from(verifier.keyId).toString("hex") !== id) throw bad;
  return verifier;
}

/** The signed note of a checkpoint. */
export function signCheckpoint({ origin, size, root }: Checkpoint, signer: NoteVerifier, privateKey: KeyObject): string {
  const text = `${origin}\n${size}\n${Buffer.from(root).toString("base64")}\n`;
  const signature = Buffer.concat([signer.keyId, sign(null, Buffer.from(text), privateKey)]);
  return `${text}\n— ${signer.name} ${signature.toString("base64")}\n`;
}

function signatureOf(lines: readonly string[], { name, keyId }: NoteVerifier): Uint8Array | undefined {
  for (const line of lines) {
    const [dash, signer, base64 = "", ...rest] = line.split(" ");
    if (dash !== "—" || signer !== name || rest.length > 0) continue;
    const bytes = Buffer.from(base64, "base64");
    if (bytes.subarray(0, ID_BYTES).equals(keyId)) return bytes.subarray(ID_BYTES);
  }
  return undefined;
}

/** The checkpoint in a note that `verifier` has signed, with this origin. Throws `unauthenticated` for any other. */
export function openCheckpoint(note: string, verifier: NoteVerifier): Checkpoint {
  const refuse = (why: string) => new AppError("unauthenticated", `the checkpoint ${why}`);
  const split = note.lastIndexOf("\n\n");
  if (note.length > MAX_NOTE || split < 0 || !note.endsWith("\n")) throw refuse("is not a signed note");
  const text = note.slice(0, split + 1);
  const signature = signatureOf(note.slice(split + 2, -1).split("\n"), verifier);
  if (signature === undefined) throw refuse("is not signed by the log's key");
  if (!verify(null, Buffer.from(text), verifier.publicKey, signature)) throw refuse("has a signature that does not hold");
  const [origin = "", size = "", root = ""] = text.split("\n");
  const bytes = Buffer.from(root, "base64");
  if (origin !== verifier.name || !/^(0|[1-9]\d{0,14})$/.test(size) || bytes.length !== 32) throw refuse("is not one of this log");
  return { origin, size: Number(size), root: bytes };
}
