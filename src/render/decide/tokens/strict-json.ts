/** JSON that has one meaning: a name that comes twice in an object is an error (RFC 8259 §4 leaves it open), and so is deep nesting. */

import { byteTextOf, fromByteText } from "../../../policy/byte-text.ts";

/** As Envoy's parser has it. */
const MAX_DEPTH = 100;

/** A string with its escapes, or a character that structures. */
const TOKENS = /"(?:[^"\\]|\\.)*"|[{}[\],:]/gs;

/** Whether text that is known to be JSON names anything twice, or is nested too deep. */
function isAmbiguous(json: string): boolean {
  const open: (Set<string> | undefined)[] = [];
  let previous = "";
  for (const [token] of json.matchAll(TOKENS)) {
    const names = open.at(-1);
    if (token === "{" || token === "[") {
      open.push(token === "{" ? new Set() : undefined);
      if (open.length > MAX_DEPTH) return true;
    } else if (token === "}" || token === "]") open.pop();
    else if (token.startsWith('"') && names !== undefined && (previous === "{" || previous === ",")) {
      const name: unknown = JSON.parse(token);
      if (names.has(String(name))) return true;
      names.add(String(name));
    }
    previous = token;
  }
  return false;
}

/** The object that the bytes stand for in UTF-8; undefined for anything else. */
export function parseStrictObject(bytes: Uint8Array): Readonly<Record<string, unknown>> | undefined {
  const text = fromByteText(byteTextOf(bytes));
  if (text === undefined) return undefined;
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value !== "object" || value === null || Array.isArray(value) || isAmbiguous(text)) return undefined;
    return value as Readonly<Record<string, unknown>>;
  } catch {
    return undefined;
  }
}
