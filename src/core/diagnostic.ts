/** What is wrong with a user's configuration: a stable code, a message, a place and separate help. */

export type Severity = "error" | "warning";

/** A place in a file; `line` and `column` count from 1. An object of an API server has no lines: `file` is its kind and name, `line` 0. */
export interface Place {
  readonly file: string;
  readonly line: number;
  readonly column: number;
}

/** Every diagnostic code there is; `docs/reference/diagnostics.md` is generated from this table. Codes are never reused. */
export const DIAGNOSTICS = {
  GAR0001: { severity: "error", title: "the file is not YAML" },
  GAR0002: { severity: "error", title: "the kind is not supported" },
  GAR0003: { severity: "error", title: "the field is unknown" },
  GAR0004: { severity: "error", title: "the field is not supported" },
  GAR0005: { severity: "error", title: "a required field is missing" },
  GAR0006: { severity: "error", title: "the value has the wrong type" },
  GAR0007: { severity: "error", title: "the value is not allowed" },
  GAR0008: { severity: "error", title: "an object is defined twice" },
  GAR0009: { severity: "error", title: "a limit is exceeded" },
  GAR0010: { severity: "error", title: "the file cannot be read" },
  GAR0011: { severity: "warning", title: "a selector is empty" },
  GAR0012: { severity: "warning", title: "a key is not used" },
  GAR0013: { severity: "warning", title: "a setting is not in force" },
  GAR0014: { severity: "warning", title: "a field of the mesh has no effect" },
  GAR0015: { severity: "warning", title: "auto mTLS is off" },
  GAR0101: { severity: "warning", title: "a service selects no workload" },
  GAR0102: { severity: "error", title: "an object refers to something that does not exist" },
  GAR0103: { severity: "warning", title: "a selector selects no workload" },
  GAR0104: { severity: "error", title: "two objects claim the same thing" },
  GAR0105: { severity: "error", title: "a workload has no listener" },
  GAR0106: { severity: "warning", title: "a policy is ignored in this place" },
  GAR0107: { severity: "error", title: "a field of the mesh contradicts what is fixed" },
  GAR0201: { severity: "warning", title: "rules of HTTP on a TCP port" },
  GAR0202: { severity: "warning", title: "a rule allows all but some paths or hosts" },
  GAR0203: { severity: "warning", title: "a rule denies paths or hosts that another spelling evades" },
  GAR0204: { severity: "warning", title: "a rule asks for identities where mutual TLS is not required" },
  GAR0205: { severity: "warning", title: "a rule asks for a token that nothing verifies" },
  GAR0206: { severity: "warning", title: "tokens are verified, and nothing requires one" },
  GAR0207: { severity: "warning", title: "a value of a rule never matches" },
  GAR0208: { severity: "warning", title: "a rule names nobody of the mesh" },
  GAR0209: { severity: "warning", title: "an address block is wider than it looks" },
  GAR0210: { severity: "warning", title: "a rule names a port where nothing listens" },
  GAR0211: { severity: "warning", title: "a rule holds nowhere" },
  GAR0212: { severity: "warning", title: "a rule excludes what it names" },
  GAR0213: { severity: "warning", title: "a PeerAuthentication stands behind another" },
  GAR0214: { severity: "warning", title: "a mode is for a port where nothing listens" },
  GAR0215: { severity: "warning", title: "nothing else is in the namespace" },
  GAR0216: { severity: "warning", title: "a document is no object" },
  GAR0218: { severity: "warning", title: "an annotation is not known" },
  GAR0219: { severity: "warning", title: "a rule asks for two values of one thing at once" },
  GAR0220: { severity: "error", title: "a Secret cannot be read" },
  GAR0223: { severity: "warning", title: "a rule takes tokens of any issuer" },
  GAR0224: { severity: "warning", title: "keys of tokens are not fetched" },
  GAR0230: { severity: "warning", title: "a setting is for captured workloads alone" },
  GAR0231: { severity: "error", title: "a workload cannot be captured" },
  GAR0232: { severity: "error", title: "two services have one address" },
  GAR0233: { severity: "warning", title: "a plaintext connection never begins" },
  GAR0301: { severity: "warning", title: "routes are not reached" },
  GAR0320: { severity: "error", title: "roots of the mesh cannot be used" },
  GAR0321: { severity: "warning", title: "a root of the mesh verifies nobody" },
  GAR0322: { severity: "warning", title: "a root of the mesh is there twice" },
  GAR0340: { severity: "warning", title: "names would be answered for nobody" },
  GAR0360: { severity: "error", title: "a cluster is not taken in" },
  GAR0361: { severity: "error", title: "a Service is another one in another cluster" },
  GAR0362: { severity: "error", title: "two clusters have one address" },
  GAR0363: { severity: "error", title: "a cluster cannot be watched" },
  GAR0364: { severity: "error", title: "a cluster is on another network" },
  GAR0401: { severity: "warning", title: "a destination rule is for no known service" },
  GAR0402: { severity: "warning", title: "calls are refused by the server's mode" },
  GAR0403: { severity: "warning", title: "a server is not verified" },
  GAR0404: { severity: "error", title: "an endpoint has no identity" },
  GAR0405: { severity: "error", title: "a key is named from another namespace" },
} as const satisfies Record<`GAR${string}`, { readonly severity: Severity; readonly title: string }>;

export type DiagnosticCode = keyof typeof DIAGNOSTICS;

export interface Diagnostic {
  readonly code: DiagnosticCode;
  /** Lower case, no full stop, user input in backticks. */
  readonly message: string;
  readonly place: Place;
  readonly help?: string;
}

/** A diagnostic's severity, from its row. */
export function severityOf(diagnostic: Diagnostic): Severity {
  return DIAGNOSTICS[diagnostic.code].severity;
}

/** `file:line:column`, or only the object's name where there are no lines. */
export function formatPlace({ file, line, column }: Place): string {
  return line === 0 ? file : `${file}:${line}:${column}`;
}

/** `file:line:column: severity GARnnnn: message`, then the help on a line of its own. */
export function formatDiagnostic(diagnostic: Diagnostic): string {
  const help = diagnostic.help === undefined ? "" : `\n  help: ${diagnostic.help}`;
  return `${formatPlace(diagnostic.place)}: ${severityOf(diagnostic)} ${diagnostic.code}: ${diagnostic.message}${help}`;
}
