/** Hosts that may begin with a wildcard: `*`, `*.example.org`, `www.example.org`. */
import { isDnsSubdomain } from "./kubernetes-name.ts";
import { type Decoder, text, wrong } from "./reader.ts";
import { quote } from "./report.ts";

const HELP = "write `www.example.org`, `*.example.org` or `*`";

/** Case does not matter in names (RFC 4343). */
export function isHostPattern(host: string): boolean {
  return host === "*" || isDnsSubdomain((host.startsWith("*.") ? host.slice(2) : host).toLowerCase());
}

/** In lower case. */
export const hostPattern: Decoder<string> = (cursor) => {
  const value = text(cursor);
  if (value === undefined) return undefined;
  return isHostPattern(value) ? value.toLowerCase() : wrong(cursor, "GAR0007", `is not a host: ${quote(value)}`, HELP);
};
