/** Values that are written as no connection or request has them. They are told whatever the rule reaches. */
import type { Diagnostic } from "../../core/diagnostic.ts";
import { AppError } from "../../core/error.ts";
import { isSpiffeIdOf, parseSpiffeId } from "../../identity/spiffe-id.ts";
import type { AttributeKey } from "../../policy/attributes.ts";
import { quote } from "../../policy/decode/report.ts";
import type { IpBlock } from "../../policy/ip-block.ts";
import type { PathNormalization } from "../../policy/mesh-config.ts";
import type { Clause } from "../../policy/model.ts";
import { formatValueMatch, type StringMatch, type ValueMatch } from "../../policy/pattern.ts";
import { fieldName } from "./field-name.ts";
import { named, type PlacedRule } from "./placed-rule.ts";
import { clausesOf } from "./reach.ts";

interface Slip {
  /** Values with one reason are told together. */
  readonly why: string;
  readonly help: string;
}

/** A value that constrains a text. */
type Text = Exclude<StringMatch, { readonly kind: "present" }>;

/** The value as it is written, with another text in it. */
function rewritten(match: Text, value: string): string {
  return quote(formatValueMatch({ ...match, value }));
}

const INNER_STAR = "a `*` stands for other text only at one end of a value";
const EXPRESSION = { why: "values are texts, with a `*` at one end at most, and no regular expressions", help: "write the text itself" };
/** `old*` may stand for several names of the trust domain. */
const PART_OF_DOMAIN = /^[^/*]+\*\/ns\/[^/*]+\/sa\/[^/*]+$/;

// === By attribute ===

function isIdentity(text: string): boolean {
  try {
    parseSpiffeId(`spiffe://${text}`);
    return true;
  } catch (thrown) {
    if (thrown instanceof AppError) return false;
    throw thrown;
  }
}

function ofPrincipal(match: Text): Slip | undefined {
  const scheme = match.value.indexOf("://");
  if (scheme >= 0)
    return { why: "identities are compared without `spiffe://`", help: `write ${rewritten(match, match.value.slice(scheme + 3))}` };
  if (PART_OF_DOMAIN.test(match.value)) return undefined;
  if (match.value.startsWith("^")) return EXPRESSION;
  if (match.value.includes("*")) return { why: INNER_STAR, help: "use `namespaces` or `serviceAccounts`, or write one value for each" };
  if (match.kind !== "exact" || isIdentity(match.value)) return undefined;
  const help = "write it so, such as `cluster.local/ns/shop/sa/client`; an account alone is named by `serviceAccounts`";
  return { why: "an identity is `TRUST-DOMAIN/ns/NAMESPACE/sa/ACCOUNT`", help };
}

/** Of a text of which a star may be a part, though hardly is: `*admin*` is no search. Any media type, which begins with one, is meant so. */
function ofText({ value }: Text): Slip | undefined {
  if (!value.includes("*") || value === "/*") return undefined;
  return { why: INNER_STAR, help: "write one value for each, or a `*` at one end" };
}

/** RFC 9110 §9.3 and RFC 5789. */
const METHODS: ReadonlySet<string> = new Set(["GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH"]);

/** Another text is a method too, which clients hardly mean. */
function ofMethod({ kind, value }: Text): Slip | undefined {
  const meant = value.toUpperCase();
  if (value.includes("*")) return { why: INNER_STAR, help: "write one value for each method" };
  if (/[\s,]/.test(value)) return { why: "it is one method, not a list of them", help: "write one value for each method" };
  if (kind !== "exact" || value === meant || !METHODS.has(meant)) return undefined;
  return { why: "methods are compared letter by letter, and clients write them in capitals", help: `write \`${meant}\`` };
}

function ofPath(match: Text): Slip | undefined {
  const { kind, value } = match;
  if (value.startsWith("^")) return EXPRESSION;
  const [path = ""] = value.split(/[?#]/, 1);
  if (path !== value) return { why: "paths are compared without query and fragment", help: `write ${rewritten(match, path)}` };
  if (!/^[\x21-\x7e]*$/.test(value))
    return { why: "paths are compared as they are sent, with `%` and two digits for what is no plain character", help: "write it so" };
  if (value.includes("*")) return { why: INNER_STAR, help: "write `{*}` for one segment, and `{**}`, once, for any number of segments" };
  if (kind === "suffix" || value.startsWith("/")) return undefined;
  return { why: "a path begins with `/`", help: `write ${rewritten(match, `/${value}`)}` };
}

/** RFC 3986 §2.3 unreserved characters: each is the same escaped or not. */
const UNRESERVED = /^[A-Za-z0-9\-._~]$/;

function unescaped(path: string): string {
  return path.replace(/%[0-9A-Fa-f]{2}/g, (triplet) => {
    const character = String.fromCharCode(Number.parseInt(triplet.slice(1), 16));
    return UNRESERVED.test(character) ? character : triplet;
  });
}

/** What a path has no more when it is compared: a mode does what the one before it does, and more (AZ-10). */
function notNormal(match: Text, mode: PathNormalization): Slip | undefined {
  const { kind, value } = match;
  if (mode === "NONE") return undefined;
  if (/\/\.{1,2}\//.test(value) || (kind !== "prefix" && /\/\.{1,2}$/.test(value)))
    return { why: "paths are compared when `.` and `..` are resolved", help: "write the path that they lead to" };
  const plain = unescaped(value);
  // A stray percent sign is no escape, and what follows it stays as it is.
  if (plain !== value && !/%(?![0-9A-Fa-f]{2})/.test(value))
    return { why: "letters, digits and `-._~` are compared unescaped", help: `write ${rewritten(match, plain)}` };
  if (mode === "BASE" || !value.includes("//")) return undefined;
  return { why: "several slashes are compared as one", help: `write ${rewritten(match, value.replace(/\/+/g, "/"))}` };
}

function ofHost(match: Text): Slip | undefined {
  const host = match.value.replace(/^[a-z]+:\/\//i, "").replace(/\/.*$/, "");
  if (host !== match.value)
    return { why: "a host has neither scheme nor path", help: `write ${rewritten(match, host)}, and paths in \`paths\`` };
  return match.value.includes("*") ? { why: INNER_STAR, help: "write one value for each host" } : undefined;
}

function ofServerName(match: Text): Slip | undefined {
  const name = match.value.replace(/^[a-z]+:\/\//i, "").replace(/\/.*$/, "");
  if (name !== match.value) return { why: "a server name has neither scheme nor path", help: `write ${rewritten(match, name)}` };
  return ofText(match);
}

const CHECKS: Partial<Readonly<Record<AttributeKey, (match: Text) => Slip | undefined>>> = {
  principal: ofPrincipal,
  method: ofMethod,
  path: ofPath,
  host: ofHost,
  sni: ofServerName,
  header: ofText,
  requestPrincipal: ofText,
  audience: ofText,
  presenter: ofText,
  claim: ofText,
};

/** `mode`: how paths are normalized; without it, what depends on that is not told. */
function slipOf(attribute: AttributeKey, value: ValueMatch, mode: PathNormalization = "NONE"): Slip | undefined {
  if (value.kind !== "exact" && value.kind !== "prefix" && value.kind !== "suffix") return undefined;
  if (value.value === "") return undefined;
  return CHECKS[attribute]?.(value) ?? (attribute === "path" ? notNormal(value, mode) : undefined);
}

/** Whether a value is written as no connection or request has it. */
export function isMisspelt(attribute: AttributeKey, value: ValueMatch): boolean {
  return slipOf(attribute, value) !== undefined;
}

// === Diagnostics ===

interface Found {
  readonly why: string;
  readonly help: string;
  readonly negated: boolean;
  readonly field: string;
  readonly texts: Set<string>;
}

/** By field and reason. */
function gather(clauses: readonly Clause[], check: (attribute: AttributeKey, value: ValueMatch) => Slip | undefined): readonly Found[] {
  const found = new Map<string, Found>();
  for (const clause of clauses) {
    for (const value of clause.values) {
      const slip = check(clause.attribute, value);
      if (slip === undefined) continue;
      const field = fieldName(clause);
      const key = `${field} ${clause.negated} ${slip.why}`;
      const known = found.get(key) ?? { ...slip, negated: clause.negated, field, texts: new Set() };
      found.set(key, known);
      known.texts.add(quote(formatValueMatch(value)));
    }
  }
  return [...found.values()];
}

/** Other trust domains name their workloads as they like. */
function isForeign(attribute: AttributeKey, value: ValueMatch, federated: readonly string[]): boolean {
  if (attribute !== "principal" || value.kind !== "exact") return false;
  return federated.some((trustDomain) => isSpiffeIdOf(`spiffe://${value.value}`, trustDomain));
}

/** Values that nothing has. */
export function misspeltValues({ policy, rule, name, place, snapshot }: PlacedRule): readonly Diagnostic[] {
  const { federated, meshConfig } = snapshot;
  const check = (attribute: AttributeKey, value: ValueMatch) =>
    isForeign(attribute, value, federated) ? undefined : slipOf(attribute, value, meshConfig.pathNormalization);
  return gather(clausesOf(rule), check).map(({ why, help, negated, field, texts }) => ({
    code: "GAR0207",
    message: `${policy.action} rule ${name} has ${named([...texts])} in \`${field}\`, which ${negated ? "excludes nothing" : "never matches what is meant"}: ${why}`,
    place,
    help,
  }));
}

/** The block with nothing after its prefix; undefined where it is written so. */
function networkOf({ family, bytes, prefix }: IpBlock): string | undefined {
  const network = bytes.map((byte, index) => byte & (0xff00 >> Math.max(0, Math.min(8, prefix - index * 8))) & 0xff);
  if (network.every((byte, index) => byte === bytes[index])) return undefined;
  if (family === 4) return `${network.join(".")}/${prefix}`;
  const groups = Array.from({ length: 8 }, (_, index) => ((network[2 * index] ?? 0) * 256 + (network[2 * index + 1] ?? 0)).toString(16));
  return `${groups.join(":")}/${prefix}`;
}

function wideBlock(_: AttributeKey, value: ValueMatch): Slip | undefined {
  if (value.kind !== "ip") return undefined;
  const network = networkOf(value.block);
  if (network === undefined) return undefined;
  const address = value.block.text.split("/", 1)[0] ?? "";
  return { why: `all of \`${network}\``, help: `write \`${network}\`, or \`${address}\` for the one address` };
}

/** Blocks whose address has more bits than their prefix counts: who wrote them may have meant the one address. */
export function wideBlocks({ policy, rule, name, place }: PlacedRule): readonly Diagnostic[] {
  return gather(clausesOf(rule), wideBlock).map(({ why, help, field, texts }) => ({
    code: "GAR0209",
    message: `${policy.action} rule ${name} has ${named([...texts])} in \`${field}\`, which stands for ${why}`,
    place,
    help,
  }));
}
