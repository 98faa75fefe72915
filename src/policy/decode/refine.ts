/** Decoders for strings with a grammar. */
import { AppError } from "../../core/error.ts";
import { parseIpAddress } from "../ip-block.ts";
import { type Cursor, type Decoder, text, wrong, wrongType } from "./reader.ts";
import { quote } from "./report.ts";
import { suggestion } from "./suggest.ts";

/** A string that a parser of the model takes; `what` names it with its article. */
export function parsed<T>(parse: (value: string) => T, what: string, help: string): Decoder<T> {
  return (cursor) => {
    const value = text(cursor);
    if (value === undefined) return undefined;
    try {
      return parse(value);
    } catch (thrown) {
      if (!(thrown instanceof AppError)) throw thrown;
      return wrong(cursor, "GAR0007", `is not ${what}: ${quote(value)}`, help);
    }
  };
}

/** A string that matches; `what` names it with its article. */
export function matching(check: (value: string) => boolean, what: string, help: string): Decoder<string> {
  return (cursor) => {
    const value = text(cursor);
    if (value === undefined || check(value)) return value;
    return wrong(cursor, "GAR0007", `is not ${what}: ${quote(value)}`, help);
  };
}

/** One of a few words. */
export function oneOf<const T extends string>(words: readonly T[]): Decoder<T> {
  return (cursor) => {
    const value = text(cursor);
    if (value === undefined) return undefined;
    const word = words.find((candidate) => candidate === value);
    return word ?? wrong(cursor, "GAR0007", `is not allowed: ${quote(value)}`, suggestion(value, words));
  };
}

/** A field of which only the values that change nothing are supported; `help` says what the others would need. */
export function only(values: readonly (string | boolean)[], help: string): Decoder<string | boolean> {
  return (cursor) => {
    const { node } = cursor;
    const value = node.kind === "scalar" ? node.value : undefined;
    const expected = values.map((candidate) => `\`${candidate}\``).join(" or ");
    if (value === undefined || value === null || typeof value !== typeof values[0]) return wrongType(cursor, expected);
    return values.find((candidate) => candidate === value) ?? wrong(cursor, "GAR0004", `is not supported: ${quote(String(value))}`, help);
  };
}

/** Null or what the decoder takes: Kubernetes writes `creationTimestamp: null` and the like. */
export function nullable<T>(decoder: Decoder<T>, absent: T): Decoder<T> {
  return (cursor: Cursor) => (cursor.node.kind === "scalar" && cursor.node.value === null ? absent : decoder(cursor));
}

export const ipAddress = matching(
  (value) => parseIpAddress(value) !== undefined,
  "an IP address",
  "write it as `10.1.2.3` or `2001:db8::1`",
);
