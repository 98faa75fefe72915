/** Texts and their UTF-8 bytes, in the form that header lines have here: a character for each byte. */

/** Of a text; a lone surrogate, which has no bytes, becomes a replacement character. */
export function toByteText(text: string): string {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: everything but ASCII
  if (/^[\x00-\x7f]*$/.test(text)) return text;
  return encodeURIComponent(text.toWellFormed()).replace(/%([0-9A-F]{2})/g, (_, hex: string) =>
    String.fromCharCode(Number.parseInt(hex, 16)),
  );
}

/** The text that bytes stand for; undefined where they are not UTF-8. */
export function fromByteText(bytes: string): string | undefined {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: everything but ASCII
  if (/^[\x00-\x7f]*$/.test(bytes)) return bytes;
  try {
    return decodeURIComponent(bytes.replace(/[^A-Za-z0-9]/g, (character) => `%${character.charCodeAt(0).toString(16).padStart(2, "0")}`));
  } catch {
    return undefined;
  }
}

/** Base64url without padding (RFC 4648 §5, RFC 7515 §2) as bytes; undefined for anything else. */
export function decodeBase64url(text: string): Uint8Array | undefined {
  if (!/^[A-Za-z0-9_-]+$/.test(text) || text.length % 4 === 1) return undefined;
  return Uint8Array.fromBase64(text, { alphabet: "base64url", lastChunkHandling: "loose" });
}

const SLICE = 8192;

/** A character for each byte. */
export function byteTextOf(bytes: Uint8Array): string {
  let text = "";
  for (let at = 0; at < bytes.length; at += SLICE) text += String.fromCharCode(...bytes.subarray(at, at + SLICE));
  return text;
}

/** Base64 of a text's UTF-8 bytes (RFC 4648 §4); base64url (§5) is without padding. */
export function encodeBase64(text: string, alphabet: "base64" | "base64url" = "base64"): string {
  const bytes = Uint8Array.from(toByteText(text), (character) => character.charCodeAt(0));
  return bytes.toBase64({ alphabet, omitPadding: alphabet === "base64url" });
}
