/** Names of servers: hosts that clients write, and names that a server's certificate may hold. */
import { parseIpAddress } from "../ip-block.ts";
import type { ServerName } from "../model.ts";
import { isDnsLabel, isDnsSubdomain } from "./kubernetes-name.ts";
import { LIMITS } from "./limits.ts";
import { type Decoder, list, text, wrong } from "./reader.ts";
import { quote } from "./report.ts";

/** RFC 3986 §3.1, and what follows is visible ASCII. */
const URI = /^[a-z][a-z0-9+.-]*:\/\/[!-~]+$/i;

/** A DNS name that no address could be mistaken for, in lower case. */
export function parseHost(value: string): string | undefined {
  const host = value.toLowerCase();
  return isDnsSubdomain(host) && parseIpAddress(host) === undefined ? host : undefined;
}

const host: Decoder<string> = (cursor) => {
  const value = text(cursor);
  if (value === undefined) return undefined;
  if (value.startsWith("*")) {
    const help = "traffic is not captured, so only a whole name says which server is meant: write one host for each";
    return wrong(cursor, "GAR0004", `is not supported: ${quote(value)}`, help);
  }
  return parseHost(value) ?? wrong(cursor, "GAR0007", `is not a host: ${quote(value)}`, "write a DNS name, such as `api.example.com`");
};

export const hosts = list(host, { min: 1, max: LIMITS.names });

const subjectAltName: Decoder<ServerName> = (cursor) => {
  const value = text(cursor);
  if (value === undefined) return undefined;
  if (URI.test(value)) return { kind: "uri", value };
  if (parseIpAddress(value) !== undefined) return { kind: "ip", value: value.toLowerCase() };
  const name = parseHost(value);
  if (name !== undefined) return { kind: "dns", value: name };
  const help = "write a DNS name, an IP address or a URI such as a SPIFFE ID, without wildcards";
  return wrong(cursor, "GAR0007", `is not a name of a server: ${quote(value)}`, help);
};

/** Names of which a server's certificate must hold one. */
export const subjectAltNames = list(subjectAltName, { max: LIMITS.names });

const visibility: Decoder<string> = (cursor) => {
  const value = text(cursor);
  if (value === undefined || value === "." || value === "*" || isDnsLabel(value)) return value;
  return wrong(cursor, "GAR0007", `is not a namespace: ${quote(value)}`, "write `.` for its own namespace, `*` for all, or a name");
};

/** Istio `exportTo`. */
export const exportTo = list(visibility, { max: LIMITS.names });
