/** Reads `accounts`: which claims make which service account. */
import { isDnsLabel, isDnsSubdomain } from "../../policy/decode/kubernetes-name.ts";
import type { RawMap } from "../../policy/decode/raw-node.ts";
import { type Cursor, type Decoder, list, record, text, wrong, wrongType } from "../../policy/decode/reader.ts";
import type { AccountRule, ClaimPath, ClaimValue, Condition, Template } from "./account-mapping.ts";

const MAX_RULES = 1024;
const MAX_CONDITIONS = 32;
const MAX_VALUES = 256;
const MAX_DEPTH = 4;

/** `{claim}`, or `{claim[inner]}` for one within another. */
const PLACEHOLDER = /^\{([^{}[\]]+)((?:\[[^{}[\]]+\])*)\}$/;

function scalarValue(cursor: Cursor): ClaimValue | undefined {
  const { node } = cursor;
  if (node.kind === "scalar" && node.value !== null) return node.value;
  return wrongType(cursor, "a text, a number, true or false", "a condition compares with one value, or with each of a list");
}

function valuesOf(cursor: Cursor): readonly ClaimValue[] | undefined {
  if (cursor.node.kind === "list") return list(scalarValue, { min: 1, max: MAX_VALUES })(cursor);
  const value = scalarValue(cursor);
  return value === undefined ? undefined : [value];
}

/** Conditions of a map, those of maps within it with longer paths. */
function conditionsOf(cursor: Cursor, node: RawMap, above: readonly string[], known: readonly string[] | undefined): Condition[] {
  return node.entries.flatMap(({ key, value, place }): Condition[] => {
    const claim: ClaimPath = [above[0] ?? key, ...(above.length === 0 ? [] : [...above.slice(1), key])];
    const at = { ...cursor, node: value, path: `${cursor.path}[${JSON.stringify(key)}]` };
    if (value.kind === "map" && claim.length < MAX_DEPTH) return conditionsOf(at, value, claim, known);
    if (!isKnown(claim, known)) wrong({ ...at, node: { ...value, place } }, "GAR0007", "is nothing that this issuer says", help(known));
    const values = valuesOf(at);
    return values === undefined ? [] : [{ claim, values }];
  });
}

function isKnown(claim: ClaimPath, known: readonly string[] | undefined): boolean {
  return known?.includes(claim.join(".")) ?? true;
}

function help(known: readonly string[] | undefined): string {
  return `it is one of ${known?.join(", ")}`;
}

function conditions(known: readonly string[] | undefined): Decoder<readonly Condition[]> {
  return (cursor) => {
    if (cursor.node.kind !== "map") return wrongType(cursor, "a map of claims");
    const found = conditionsOf(cursor, cursor.node, [], known);
    if (found.length > MAX_CONDITIONS) return wrong(cursor, "GAR0009", `has more than ${MAX_CONDITIONS} conditions`);
    if (found.length > 0) return found;
    return wrong(
      cursor,
      "GAR0007",
      "has no condition: everybody with a token of this issuer would be this account",
      "name a claim that only yours have",
    );
  };
}

/** The text with one claim in it, or none; undefined where it is something else. */
function parseTemplate(part: string, known: readonly string[] | undefined): Template | undefined {
  const open = part.indexOf("{");
  const close = part.lastIndexOf("}");
  if (open < 0 && close < 0) return { before: part, claim: undefined, after: "" };
  const [, first, inner = ""] = PLACEHOLDER.exec(part.slice(open, close + 1)) ?? [];
  if (open < 0 || first === undefined) return undefined;
  const claim: ClaimPath = [first, ...[...inner.matchAll(/\[([^\]]+)\]/g)].map(([, name = ""]) => name)];
  return isKnown(claim, known) ? { before: part.slice(0, open), claim, after: part.slice(close + 1) } : undefined;
}

/** Whether the fixed text can be part of a name. */
function fits({ before, claim, after }: Template, isName: (name: string) => boolean): boolean {
  return isName(claim === undefined ? before : `${before}x${after}`);
}

function account(known: readonly string[] | undefined): Decoder<Pick<AccountRule, "namespace" | "name">> {
  return (cursor) => {
    const value = text(cursor);
    if (value === undefined) return undefined;
    // A claim's own name may have a slash: only one outside braces separates.
    const parts = value.match(/(?:\{[^}]*\}|[^/{])+|\//g) ?? [];
    const isWhole = parts.length === 3 && parts[1] === "/" && parts.join("") === value;
    const [namespace, name] = isWhole ? [parts[0], parts[2]].map((part = "") => parseTemplate(part, known)) : [];
    if (namespace !== undefined && name !== undefined && fits(namespace, isDnsLabel) && fits(name, isDnsSubdomain))
      return { namespace, name };
    const claims = known === undefined ? "" : `; ${help(known)}`;
    const advice = `write it as \`NAMESPACE/SERVICE-ACCOUNT\`, each with at most one claim, such as \`{team}/web\` or \`shop/{kubernetes[name]}\`${claims}`;
    return wrong(cursor, "GAR0007", "does not name a service account", advice);
  };
}

/** `known`: the claims that there are, as `outer.inner`; undefined where any may come. */
export function accountRules(known: readonly string[] | undefined): Decoder<readonly AccountRule[]> {
  const rule: Decoder<AccountRule> = record((fields) => {
    const when = fields.required("when", conditions(known));
    const to = fields.required("account", account(known));
    return when === undefined || to === undefined ? undefined : { when, ...to };
  });
  return list(rule, { min: 1, max: MAX_RULES });
}
