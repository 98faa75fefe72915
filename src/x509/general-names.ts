/** Subject alternative names (RFC 5280 §4.2.1.6). */
import { AppError } from "../core/error.ts";
import { type DerReader, openDer, TAG } from "./der-reader.ts";
import { element, sequence } from "./der-writer.ts";
import { hexOf } from "./hex.ts";

/** One name. `value` is the text of a uri, dns or email name, the hex of an ip address, and the tag of any other form, whose content is never trusted. */
export interface GeneralName {
  readonly kind: "uri" | "dns" | "email" | "ip" | "other";
  readonly value: string;
}

const URI_TAG = 0x86;
const DNS_TAG = 0x82;
const EMAIL_TAG = 0x81;
const IP_TAG = 0x87;
const MAX_NAMES = 100;
/** SPIFFE-ID §2.3. */
const MAX_TEXT = 2048;
const KIND_OF_TEXT: ReadonlyMap<number, "uri" | "dns" | "email"> = new Map([
  [URI_TAG, "uri"],
  [DNS_TAG, "dns"],
  [EMAIL_TAG, "email"],
]);

/** Visible ASCII alone: a NUL or a line break in a name has cheated readers that stop at it. */
function visible(reader: DerReader, content: Uint8Array): string {
  if (content.length === 0 || content.length > MAX_TEXT) throw reader.fail("has a name of an impossible length");
  for (const byte of content) if (byte <= 0x20 || byte >= 0x7f) throw reader.fail("has a name with a character that is not visible ASCII");
  return Buffer.from(content.buffer, content.byteOffset, content.byteLength).toString("latin1");
}

function readName(reader: DerReader): GeneralName {
  const tag = reader.peek();
  const kind = KIND_OF_TEXT.get(tag);
  if (kind !== undefined) return { kind, value: visible(reader, reader.content(tag)) };
  if (tag !== IP_TAG) {
    reader.skip();
    return { kind: "other", value: String(tag) };
  }
  const address = reader.content(tag);
  if (address.length !== 4 && address.length !== 16) throw reader.fail("has an IP address that is neither version 4 nor 6");
  return { kind: "ip", value: hexOf(address) };
}

/** The names in the value of a SAN extension; at least one. Throws `invalid-argument`. */
export function parseGeneralNames(der: Uint8Array): readonly GeneralName[] {
  const reader = openDer(der, "subject alternative name");
  const names = reader.enter(TAG.sequence);
  reader.finish();
  const result: GeneralName[] = [];
  while (!names.done) {
    if (result.length === MAX_NAMES) throw names.fail(`has more than ${MAX_NAMES} names`);
    result.push(readName(names));
  }
  if (result.length === 0) throw names.fail("has no name");
  return result;
}

/** The value of a SAN extension with one URI and then the DNS names. Throws `internal` for text that is not visible ASCII: callers check names first. */
export function formatGeneralNames(uri: string, dnsNames: readonly string[] = []): Uint8Array {
  const text = (tag: number, value: string) => {
    if (!/^[!-~]+$/.test(value)) throw new AppError("internal", "a name to be certified is not visible ASCII");
    return element(tag, Buffer.from(value, "latin1"));
  };
  return sequence(text(URI_TAG, uri), ...dnsNames.map((name) => text(DNS_TAG, name)));
}
