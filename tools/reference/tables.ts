/** `docs/reference/attributes.md` and `diagnostics.md`: the tables of the code as tables. */
import { DIAGNOSTICS } from "../../src/core/diagnostic.ts";
import { ATTRIBUTES, type AttributeRow, type ValueGrammar } from "../../src/policy/attributes.ts";
import { DIAGNOSTIC_HELP } from "./diagnostic-help.ts";
import { codes, table } from "./markdown.ts";

const GRAMMAR_DOCS = {
  string: "a text; `text*` for all that begin so, `*text` for all that end so, `*` for any that is not empty",
  path: "as a string, or a template: `{*}` for one segment, `{**}` as the last operator for any number of segments",
  ip: "an address or a CIDR block",
  port: "a port number, as a string",
  "service-account": "`NAME`, of the policy's own namespace, or `NAMESPACE/NAME`; no wildcards",
  "trust-domain": "a trust domain, with at most one `*` at one end",
} as const satisfies Record<ValueGrammar, string>;

function negative(field: string): string {
  return `not${field.charAt(0).toUpperCase()}${field.slice(1)}`;
}

function writtenAs({ source, operation, when }: AttributeRow): string {
  const fields = [
    ...(source === undefined ? [] : [`source: ${codes([source, negative(source)])}`]),
    ...(operation === undefined ? [] : [`operation: ${codes([operation, negative(operation)])}`]),
    ...(when === undefined ? [] : [`when: \`${when.replace("[…]", "[NAME]")}\``]),
  ];
  return fields.join("; ");
}

function attribute(row: AttributeRow): readonly string[] {
  const needs = [row.layer === 7 ? "HTTP" : "any", ...(row.needsMtls === true ? ["mutual TLS"] : [])].join(", ");
  return [writtenAs(row), row.doc, row.grammar, codes(row.examples), needs];
}

/** The page of attributes. */
export function attributesPage(): string {
  const rows: readonly AttributeRow[] = Object.values(ATTRIBUTES);
  return `# Attributes

What the rules of an AuthorizationPolicy can ask for: in \`from[].source\`, in \`to[].operation\`, or as the key of \`when[]\` with \`values\` and \`notValues\`. On a TCP
port, an ALLOW rule with an HTTP attribute matches nothing, and a DENY or AUDIT rule matches without it.

${table(["written as", "is", "values", "examples", "known of"], rows.map(attribute))}

## Values

${table(["grammar", "meaning"], Object.entries(GRAMMAR_DOCS))}
`;
}

/** The page of diagnostics. */
export function diagnosticsPage(): string {
  const meanings: Readonly<Record<string, string>> = DIAGNOSTIC_HELP;
  const rows = Object.entries(DIAGNOSTICS).map(([code, { severity, title }]) => [code, severity, title, meanings[code] ?? ""]);
  return `# Diagnostics

What \`garrison check\`, \`garrison status\` and the log of the control plane say about a configuration, as \`FILE:LINE:COLUMN: SEVERITY CODE: MESSAGE\` with a help on the
next line. Codes are never given another meaning. An object with an error is not taken: its last valid form stays in force, and a policy without one is closed.
A warning changes nothing: what it is about is in force as it is written. Each stands once at its place, of a rule at the rule's first line. \`garrison check\` ends with 1 where there is an error,
and with 0 where there are warnings only; it says the same with nothing running.

${table(["code", "severity", "what", "what it means, and what to do"], rows)}
`;
}
