/** IP addresses and CIDR blocks, IPv4 and IPv6, without `node:net`, so that the page in the browser uses the same code. */
import { AppError } from "../core/error.ts";

/** An address block; survives JSON. `bytes` are 4 for family 4, 16 for family 6, in network order. */
export interface IpBlock {
  readonly family: 4 | 6;
  readonly bytes: readonly number[];
  /** Leading bits that count. */
  readonly prefix: number;
  /** As it was written. */
  readonly text: string;
}

export interface IpAddress {
  readonly family: 4 | 6;
  readonly bytes: readonly number[];
}

function parseIpv4(text: string): number[] | undefined {
  const parts = text.split(".");
  if (parts.length !== 4 || !parts.every((part) => /^(0|[1-9]\d{0,2})$/.test(part) && Number(part) <= 255)) return undefined;
  return parts.map(Number);
}

/** The bytes of colon-separated groups; the last one may be an IPv4 address where the whole address ends (RFC 4291 §2.2). */
function parseGroups(text: string, endsAddress: boolean): number[] | undefined {
  if (text === "") return [];
  const bytes: number[] = [];
  const parts = text.split(":");
  for (const [index, part] of parts.entries()) {
    if (part.includes(".")) {
      const ipv4 = endsAddress && index === parts.length - 1 ? parseIpv4(part) : undefined;
      if (ipv4 === undefined) return undefined;
      bytes.push(...ipv4);
    } else if (/^[0-9a-fA-F]{1,4}$/.test(part)) {
      const group = Number.parseInt(part, 16);
      bytes.push(group >> 8, group & 0xff);
    } else return undefined;
  }
  return bytes;
}

function parseIpv6(text: string): number[] | undefined {
  const halves = text.split("::");
  if (halves.length > 2) return undefined;
  const head = parseGroups(halves[0] ?? "", halves.length === 1);
  const tail = halves.length === 2 ? parseGroups(halves[1] ?? "", true) : [];
  if (head === undefined || tail === undefined) return undefined;
  const missing = 16 - head.length - tail.length;
  if (halves.length === 2 ? missing < 2 : missing !== 0) return undefined;
  return [...head, ...new Array<number>(missing).fill(0), ...tail];
}

function isIpv4Mapped(bytes: readonly number[]): boolean {
  return bytes.slice(0, 10).every((byte) => byte === 0) && bytes[10] === 0xff && bytes[11] === 0xff;
}

/** An address, or undefined. An IPv4-mapped IPv6 address is its IPv4 one, as Envoy and the kernel see it. */
export function parseIpAddress(text: string): IpAddress | undefined {
  if (text.length > 64) return undefined;
  const ipv4 = parseIpv4(text);
  if (ipv4 !== undefined) return { family: 4, bytes: ipv4 };
  const ipv6 = text.includes(":") ? parseIpv6(text) : undefined;
  if (ipv6 === undefined) return undefined;
  return isIpv4Mapped(ipv6) ? { family: 4, bytes: ipv6.slice(12) } : { family: 6, bytes: ipv6 };
}

/** The prefix's length in the address's own family, or undefined. Of an IPv4-mapped block, the first 96 bits are the mapping. */
function parsePrefix(text: string | undefined, address: IpAddress, isMapped: boolean): number | undefined {
  const width = address.bytes.length * 8;
  if (text === undefined) return width;
  const prefix = /^\d{1,3}$/.test(text) ? Number(text) - (isMapped ? 96 : 0) : -1;
  return prefix >= 0 && prefix <= width ? prefix : undefined;
}

/** An address or CIDR block (RFC 4632). Throws `invalid-argument`. */
export function parseIpBlock(text: string): IpBlock {
  const [addressText = "", prefixText, ...rest] = text.split("/");
  const address = parseIpAddress(addressText);
  const prefix = address && parsePrefix(prefixText, address, address.family === 4 && addressText.includes(":"));
  if (address === undefined || prefix === undefined || rest.length > 0) {
    throw new AppError("invalid-argument", `\`${text.slice(0, 100)}\` is not an IP address or CIDR block`, {
      help: "write it as `10.1.0.0/16`, `10.1.2.3` or `2001:db8::/32`",
    });
  }
  return { ...address, prefix, text };
}

/** Whether an address lies in a block; never across families. */
export function blockContains(block: IpBlock, address: IpAddress): boolean {
  if (block.family !== address.family) return false;
  const whole = block.prefix >> 3;
  for (let index = 0; index < whole; index++) if (block.bytes[index] !== address.bytes[index]) return false;
  const shift = 8 - (block.prefix & 7);
  return shift === 8 || (block.bytes[whole] ?? 0) >> shift === (address.bytes[whole] ?? 0) >> shift;
}
