/** What an entry of the log says: a certificate that was issued, or what else may not be changed unnoticed. */
import { AppError } from "../../core/error.ts";

export interface CertificateEntry {
  /** Lower-case hex. */
  readonly serial: string;
  /** A SPIFFE ID. */
  readonly identity: string;
  /** How the caller proved who it is. */
  readonly caller: string;
  /** Milliseconds. */
  readonly notBefore: number;
  readonly notAfter: number;
  readonly recordedAt: number;
  /** SHA-256 of the certificate's DER, in hex. */
  readonly sha256: string;
}

/** A certificate that is good no more. */
export interface RevokedNote {
  readonly type: "revoked";
  readonly serial: string;
  readonly identity: string;
  readonly sha256: string;
  /** Milliseconds. */
  readonly at: number;
  readonly reason: string;
}

/** An identity (a SPIFFE ID) or a key (its identifier in hex) that gets no certificate from now on, or may have some again. */
export interface BlockNote {
  readonly type: "blocked" | "unblocked";
  readonly kind: "identity" | "key";
  readonly value: string;
  /** Milliseconds. */
  readonly at: number;
  /** Empty where it may have some again. */
  readonly reason: string;
}

/** JWT-SVIDs that were issued one after the other: the root (RFC 6962, hex) of the tree of their rows, `first` to `last`. */
export interface JwtSvidsNote {
  readonly type: "jwt-svids";
  readonly first: number;
  readonly last: number;
  /** Milliseconds. */
  readonly at: number;
  readonly sha256: string;
}

export type Note = RevokedNote | BlockNote | JwtSvidsNote;
export type LogEntry = CertificateEntry | Note;

export function isNote(entry: LogEntry): entry is Note {
  return "type" in entry;
}

/** The fields of a note in their one order. */
function noteFields(note: Note): object {
  if (note.type === "revoked") {
    const { type, serial, identity, sha256, at, reason } = note;
    return { type, serial, identity, sha256, at, reason };
  }
  if (note.type === "jwt-svids") {
    const { type, first, last, at, sha256 } = note;
    return { type, first, last, at, sha256 };
  }
  const { type, kind, value, at, reason } = note;
  return { type, kind, value, at, reason };
}

/** JSON with its fields in one order: the same certificate, or note, always has the same bytes. */
export function encodeEntry(entry: LogEntry): Uint8Array {
  if (isNote(entry)) return Buffer.from(JSON.stringify(noteFields(entry)));
  const { serial, identity, caller, notBefore, notAfter, recordedAt, sha256 } = entry;
  return Buffer.from(JSON.stringify({ type: "issued", serial, identity, caller, notBefore, notAfter, recordedAt, sha256 }));
}

const NOTES: readonly string[] = ["revoked", "blocked", "unblocked", "jwt-svids"] satisfies readonly Note["type"][];

/** Throws `invalid-argument` for bytes that `encodeEntry` does not make. */
export function decodeEntry(bytes: Uint8Array): LogEntry {
  try {
    const { type, ...fields } = JSON.parse(Buffer.from(bytes).toString("utf8")) as { readonly type?: string };
    const entry = (type === "issued" ? fields : { type, ...fields }) as LogEntry;
    const known = type === "issued" || NOTES.includes(type ?? "");
    if (known && Buffer.compare(encodeEntry(entry), bytes) === 0) return entry;
  } catch {
    // Told below.
  }
  throw new AppError("invalid-argument", "the entry is none that this version knows");
}
