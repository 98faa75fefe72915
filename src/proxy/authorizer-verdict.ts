/** What an authorizer answers, however it is asked. */
import { PROTECTED_HEADERS } from "../policy/authorizer-headers.ts";
import type { HeaderList } from "./message.ts";

/** How a header comes to one that may be there already. */
export interface HeaderChange {
  readonly name: string;
  readonly value: string;
  /** `append` joins with what is there and is nothing without it; `add` is a further line. */
  readonly how: "set" | "append" | "add" | "set-if-present" | "add-if-absent";
}

/** What an authorizer that allows wants of the request and of its response. */
export interface Changes {
  readonly request: readonly HeaderChange[];
  readonly removed: readonly string[];
  readonly response: readonly HeaderChange[];
  readonly querySet: readonly (readonly [name: string, value: string])[];
  readonly queryRemoved: readonly string[];
}

export type Verdict =
  | { readonly kind: "allow"; readonly changes: Changes }
  | { readonly kind: "deny"; readonly status: number; readonly headers: HeaderList; readonly body: Buffer }
  /** It could not be asked, or gave no answer that can be read. */
  | { readonly kind: "error"; readonly reason: string };

export const NO_CHANGES: Changes = { request: [], removed: [], response: [], querySet: [], queryRemoved: [] };

const PROTECTED: ReadonlySet<string> = new Set(PROTECTED_HEADERS);

/** Whether an authorizer's answer may write or remove a request's header. */
export function isWritable(name: string): boolean {
  return !PROTECTED.has(name) && name !== "host" && !name.startsWith(":") && !name.startsWith("x-envoy-");
}

/** What frames a message, or belongs to one connection, is the proxy's to say. */
const FRAMING: ReadonlySet<string> = new Set([
  "connection",
  "content-length",
  "http2-settings",
  "keep-alive",
  "proxy-connection",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
]);

/** Whether an authorizer's answer may write a response's header. */
export function isAnswerable(name: string): boolean {
  return !FRAMING.has(name) && !name.startsWith(":");
}

/** Whether a response can have this status: those below are no answers yet, and a change of protocols is not an authorizer's. */
export function isFinalStatus(status: number): boolean {
  return status >= 200 && status <= 599;
}

/** RFC 9110 §5.1 and §5.5: anything else would end the header and begin another. */
export function isWellFormed(name: string, value: string): boolean {
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what is looked for
  return /^:?[!#$%&'*+.^_`|~0-9A-Za-z-]+$/.test(name) && !/[\x00-\x08\x0a-\x1f\x7f]/.test(value);
}

function valuesWithout(headers: HeaderList, name: string): string[] {
  return headers.filter((_, index) => headers[index & ~1] !== name);
}

function joined(headers: HeaderList, name: string, value: string): HeaderList {
  const at = headers.findIndex((text, index) => index % 2 === 0 && text === name);
  return at < 0 ? headers : headers.with(at + 1, `${headers[at + 1]},${value}`);
}

/** A header list after a change; names in lower case. */
export function applyChange(headers: HeaderList, { name, value, how }: HeaderChange): HeaderList {
  const present = headers.some((text, index) => index % 2 === 0 && text === name);
  if (how === "append") return joined(headers, name, value);
  if (how === "add") return [...headers, name, value];
  if ((how === "set-if-present" && !present) || (how === "add-if-absent" && present)) return headers;
  return [...(present ? valuesWithout(headers, name) : headers), name, value];
}
