/** What is captured: Istio's options (`traffic.sidecar.istio.io/…`), read with care, since rules of the kernel are made of them. */
import { AppError } from "../core/error.ts";
import { parseIpBlock } from "../policy/ip-block.ts";

/** `*` is every one. */
export type Choice<T> = "*" | readonly T[];

export interface CaptureOptions {
  /**
   * The user that the proxy and its agent run as: what it sends is never captured. Its group means nothing: applications may choose theirs, and by
   * files of an `fsGroup` they could take another's.
   */
  readonly proxyUid: number;
  readonly includeInboundPorts: Choice<number>;
  readonly excludeInboundPorts: readonly number[];
  /** IP addresses and CIDR blocks. */
  readonly includeOutboundIPRanges: Choice<string>;
  readonly excludeOutboundIPRanges: readonly string[];
  /** Captured wherever they lead, also outside the ranges. */
  readonly includeOutboundPorts: readonly number[];
  readonly excludeOutboundPorts: readonly number[];
  /** Where questions to port 53 (UDP and TCP) are sent instead; undefined leaves them alone. */
  readonly dnsPort: number | undefined;
}

/** Istio's user of the proxy. */
const PROXY_UID = 1337;

/** Where the agent answers for the application's probes; the node's are in plaintext. */
export const PROBE_PORT = 15021;

export const DEFAULT_CAPTURE: CaptureOptions = {
  proxyUid: PROXY_UID,
  includeInboundPorts: "*",
  excludeInboundPorts: [PROBE_PORT],
  includeOutboundIPRanges: "*",
  excludeOutboundIPRanges: [],
  includeOutboundPorts: [],
  excludeOutboundPorts: [],
  dnsPort: undefined,
};

const MAX_ENTRIES = 1024;

function wrong(name: string, text: string, what: string, help: string): AppError {
  return new AppError("invalid-argument", `\`${name}\` is not ${what}: \`${text.slice(0, 100)}\``, { help });
}

function entries(name: string, text: string): readonly string[] {
  const parts = text === "" ? [] : text.split(",").map((part) => part.trim());
  if (parts.length > MAX_ENTRIES)
    throw new AppError("invalid-argument", `\`${name}\` has ${parts.length} entries, more than ${MAX_ENTRIES}`, {
      help: "name ranges that hold several",
    });
  return parts;
}

/** A number in decimal digits. Throws `invalid-argument`. */
export function parseNumber(name: string, text: string, least: number, most: number): number {
  const value = /^\d{1,10}$/.test(text) ? Number(text) : -1;
  if (value < least || value > most) throw wrong(name, text, `a number from ${least} to ${most}`, "write it in digits");
  return value;
}

const HIGHEST_PORT = 65_535;

/** Ports with commas between them; empty is none. Throws `invalid-argument`. */
export function parsePorts(name: string, text: string): readonly number[] {
  const ports = entries(name, text).map((part) => {
    if (!/^[1-9]\d{0,4}$/.test(part) || Number(part) > HIGHEST_PORT)
      throw wrong(name, part, "a port", "write numbers from 1 to 65535 with commas between them");
    return Number(part);
  });
  return [...new Set(ports)];
}

/** IP addresses and CIDR blocks with commas between them; empty is none. Throws `invalid-argument`. */
export function parseRanges(name: string, text: string): readonly string[] {
  const ranges = entries(name, text).map((part) => {
    const { bytes, prefix, family } = parseIpBlock(part);
    const address = family === 4 ? bytes.join(".") : hexGroups(bytes);
    return `${address}/${prefix}`;
  });
  return [...new Set(ranges)];
}

function hexGroups(bytes: readonly number[]): string {
  return Array.from({ length: 8 }, (_, index) => (((bytes[2 * index] ?? 0) << 8) | (bytes[2 * index + 1] ?? 0)).toString(16)).join(":");
}

/** `*`, or what `parse` takes. */
export function parseChoice<T>(parse: (name: string, text: string) => readonly T[], name: string, text: string): Choice<T> {
  return text.trim() === "*" ? "*" : parse(name, text);
}
