/** Keys of `when`, with their argument in brackets. */
import { ATTRIBUTES, type AttributeKey, attributeRow } from "../attributes.ts";
import type { Clause } from "../model.ts";
import { type Decoder, text, wrong } from "./reader.ts";
import { quote } from "./report.ts";
import { suggestion } from "./suggest.ts";

const ARGUMENT = "[…]";

/** Each key of the table; one that takes an argument without its brackets. */
const PLAIN = new Map<string, AttributeKey>();
const WITH_ARGUMENT = new Map<string, AttributeKey>();
for (const key of Object.keys(ATTRIBUTES).filter((name): name is AttributeKey => name in ATTRIBUTES)) {
  const { when } = attributeRow(key);
  if (when?.endsWith(ARGUMENT)) WITH_ARGUMENT.set(when.slice(0, -ARGUMENT.length), key);
  else if (when !== undefined) PLAIN.set(when, key);
}

/** Keys of Istio that need what Garrison does not have. */
const UNSUPPORTED: readonly (readonly [prefix: string, help: string])[] = [
  ["experimental.envoy.filters.", "metadata of other Envoy filters is not supported"],
];

/** RFC 9110 §5.1. */
const HEADER_NAME = /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}$/;
/** Claims inside claims: `a][b`. */
const CLAIM_PATH = /^[^[\]]{1,256}(?:\]\[[^[\]]{1,256}){0,15}$/;
const WITH_BRACKETS = /^([^[\]]+)\[(.+)\]$/s;

/** What may stand in the brackets, what it is then, and what to say otherwise. */
const ARGUMENTS = {
  header: {
    grammar: HEADER_NAME,
    normalize: (name: string) => name.toLowerCase(),
    what: "does not name a header",
    help: "write a header's name into the brackets, such as `request.headers[x-version]`",
  },
  claim: {
    grammar: CLAIM_PATH,
    normalize: (path: string) => path,
    what: "does not name a claim",
    help: "write a claim's name into the brackets, such as `request.auth.claims[groups]`, or `request.auth.claims[a][b]` for `b` inside `a`",
  },
} as const;

/** An attribute and its argument; header names are compared in lower case. An unknown key is an error (Istio skips the rule, AZ-6). */
export const conditionKey: Decoder<Pick<Clause, "attribute" | "argument">> = (cursor) => {
  const value = text(cursor);
  if (value === undefined) return undefined;
  const plain = PLAIN.get(value);
  if (plain !== undefined) return { attribute: plain, argument: "" };
  const [, name = "", argument = ""] = WITH_BRACKETS.exec(value) ?? [];
  const attribute = WITH_ARGUMENT.get(name);
  if (attribute !== undefined) {
    const { grammar, normalize, what, help } = ARGUMENTS[attributeRow(attribute).argument ?? "header"];
    if (grammar.test(argument)) return { attribute, argument: normalize(argument) };
    return wrong(cursor, "GAR0007", `${what}: ${quote(value)}`, help);
  }
  const bare = [...WITH_ARGUMENT].find(([prefix]) => value === prefix || value.startsWith(`${prefix}.`));
  if (bare !== undefined) {
    const { help } = ARGUMENTS[attributeRow(bare[1]).argument ?? "header"];
    return wrong(cursor, "GAR0007", `has no name in brackets: ${quote(value)}`, help);
  }
  const unsupported = UNSUPPORTED.find(([prefix]) => value.startsWith(prefix));
  if (unsupported !== undefined) return wrong(cursor, "GAR0004", `is not supported: ${quote(value)}`, unsupported[1]);
  const known = [...PLAIN.keys(), ...[...WITH_ARGUMENT.keys()].map((prefix) => `${prefix}[NAME]`)];
  return wrong(cursor, "GAR0007", `is not a known attribute: ${quote(value)}`, suggestion(value, known));
};
