/** What an entry of the log says: one certificate that was issued. */
import { AppError } from "../../core/error.ts";

export interface LogEntry {
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

/** JSON with its fields in one order: the same certificate always has the same bytes. */
export function encodeEntry({ serial, identity, caller, notBefore, notAfter, recordedAt, sha256 }: LogEntry): Uint8Array {
  return Buffer.from(JSON.stringify({ type: "issued", serial, identity, caller, notBefore, notAfter, recordedAt, sha256 }));
}

/** Throws `invalid-argument` for bytes that `encodeEntry` does not make. */
export function decodeEntry(bytes: Uint8Array): LogEntry {
  try {
    const entry = JSON.parse(Buffer.from(bytes).toString("utf8")) as LogEntry;
    if (Buffer.compare(encodeEntry(entry), bytes) === 0) return entry;
  } catch {
    // Told below.
  }
  throw new AppError("invalid-argument", "the entry is none of a certificate");
}
