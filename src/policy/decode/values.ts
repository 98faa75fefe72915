/** The values of a clause, by the grammar of their attribute's row. */
import { parseServiceAccount } from "../../identity/spiffe-id.ts";
import { type AttributeKey, attributeRow, type ValueGrammar } from "../attributes.ts";
import { parseIpBlock } from "../ip-block.ts";
import { parseStringMatch, type ValueMatch } from "../pattern.ts";
import { LIMITS } from "./limits.ts";
import { pathValue } from "./path-template.ts";
import { type Decoder, list, text, wrong } from "./reader.ts";
import { parsed } from "./refine.ts";
import { quote } from "./report.ts";

const stringValue: Decoder<ValueMatch> = (cursor) => {
  const value = text(cursor);
  return value === undefined ? undefined : parseStringMatch(value);
};

/** Istio reads `*` anywhere in a namespace as a wildcard; taken as a plain character it would match nothing, in silence. */
const namespaceValue: Decoder<ValueMatch> = (cursor) => {
  const value = text(cursor);
  if (value === undefined) return undefined;
  const match = parseStringMatch(value);
  if (match.kind === "present" || !match.value.includes("*")) return match;
  return wrong(
    cursor,
    "GAR0004",
    `has a \`*\` that is not at one end, which is not supported: ${quote(value)}`,
    "write one value for each namespace",
  );
};

/** VA-3, and for `when` too, where Istio is looser (VA-8). */
const trustDomainValue: Decoder<ValueMatch> = (cursor) => {
  const value = text(cursor);
  if (value === undefined) return undefined;
  const match = parseStringMatch(value);
  const rest = match.kind === "present" ? "" : match.value;
  if (!/[*/]/.test(rest)) return match;
  const help = "write a trust domain without its path, such as `cluster.local`, with at most one `*` at one end";
  return wrong(cursor, "GAR0007", `is not a trust domain: ${quote(value)}`, help);
};

const ipValue = parsed(
  (value): ValueMatch => ({ kind: "ip", block: parseIpBlock(value) }),
  "an IP address or CIDR block",
  "write it as `10.1.0.0/16`, `10.1.2.3` or `2001:db8::/32`",
);

/** A string in YAML, as Istio has it. */
const portValue: Decoder<ValueMatch> = (cursor) => {
  const value = text(cursor);
  if (value === undefined) return undefined;
  const port = /^\d{1,5}$/.test(value) ? Number(value) : Number.NaN;
  return port <= 65_535 ? { kind: "port", port } : wrong(cursor, "GAR0007", `is not a port: ${quote(value)}`, "write 0 to 65535");
};

/** VA-3: `NAME` or `NAMESPACE/NAME`, without wildcards; the namespace is the policy's where none is written. */
function serviceAccountValue(policyNamespace: string): Decoder<ValueMatch> {
  const parse = (value: string): ValueMatch => {
    const account = parseServiceAccount(value.includes("/") ? value : `${policyNamespace}/${value}`);
    return { kind: "service-account", ...account };
  };
  return parsed(parse, "a service account", "write `NAME` or `NAMESPACE/NAME`, without wildcards");
}

const GRAMMARS: Readonly<Record<ValueGrammar, (policyNamespace: string) => Decoder<ValueMatch>>> = {
  string: () => stringValue,
  path: () => pathValue,
  ip: () => ipValue,
  port: () => portValue,
  "service-account": serviceAccountValue,
  "trust-domain": () => trustDomainValue,
};

/** The values of one field of a rule: at least one, none of them empty. */
export function valuesOf(attribute: AttributeKey, policyNamespace: string): Decoder<readonly ValueMatch[]> {
  const { grammar } = attributeRow(attribute);
  const value = attribute === "namespace" ? namespaceValue : GRAMMARS[grammar](policyNamespace);
  return list(value, { min: 1, max: grammar === "service-account" ? LIMITS.serviceAccounts : LIMITS.values });
}
