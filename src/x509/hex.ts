const BYTES: readonly string[] = Array.from({ length: 256 }, (_, byte) => byte.toString(16).padStart(2, "0"));

/** Lower-case hex. For the short values of certificates this is faster than a copy into a Buffer. */
export function hexOf(bytes: Uint8Array): string {
  let text = "";
  for (const byte of bytes) text += BYTES[byte];
  return text;
}
