/** Textual encoding of DER (RFC 7468), strict: nothing but the blocks asked for, canonical base64. */
import { AppError } from "../core/error.ts";

export type PemLabel = "CERTIFICATE" | "CERTIFICATE REQUEST" | "X509 CRL";

/** Bounds what is decoded: a bundle of roots is the largest thing that arrives as PEM. */
const MAX_TEXT = 256 * 1024;
const BASE64 = /^[A-Za-z0-9+/]+={0,2}$/;

function invalid(label: PemLabel, why: string): AppError {
  return new AppError("invalid-argument", `the PEM text ${why}`, {
    help: `give it as \`-----BEGIN ${label}-----\`, base64, \`-----END ${label}-----\``,
  });
}

function decodeBody(label: PemLabel, body: string): Uint8Array {
  const base64 = body.replace(/[\r\n]/g, "");
  if (!BASE64.test(base64)) throw invalid(label, "has a block that is not base64");
  const bytes = Buffer.from(base64, "base64");
  if (bytes.toString("base64") !== base64) throw invalid(label, "has a block that is not canonical base64");
  return bytes;
}

/** The DER of every block of `text`, all of which must have `label`; only white space may stand between them. Throws `invalid-argument`. */
export function parsePem(text: string, label: PemLabel): readonly Uint8Array[] {
  if (text.length > MAX_TEXT) throw invalid(label, `is longer than ${MAX_TEXT} characters`);
  const begin = `-----BEGIN ${label}-----`;
  const end = `-----END ${label}-----`;
  const blocks: Uint8Array[] = [];
  let rest = text.trim();
  while (rest !== "") {
    const stop = rest.indexOf(end);
    if (!rest.startsWith(begin) || stop < 0) throw invalid(label, `is not made of \`${label}\` blocks alone`);
    blocks.push(decodeBody(label, rest.slice(begin.length, stop)));
    rest = rest.slice(stop + end.length).trimStart();
  }
  return blocks;
}

/** The DER of the only block of `text`. Throws `invalid-argument` when there is none or more than one. */
export function parseOnlyPem(text: string, label: PemLabel): Uint8Array {
  const [first, ...others] = parsePem(text, label);
  if (first === undefined || others.length > 0)
    throw invalid(label, `has ${others.length === 0 ? 0 : others.length + 1} blocks where exactly one belongs`);
  return first;
}

/** One block in lines of 64 characters, with a newline at its end. */
export function formatPem(label: PemLabel, der: Uint8Array): string {
  const base64 = Buffer.from(der.buffer, der.byteOffset, der.byteLength).toString("base64");
  return `-----BEGIN ${label}-----\n${base64.replace(/.{1,64}/g, "$&\n")}-----END ${label}-----\n`;
}
