/** Which documents are of the old API, and what they say. */
import type { Diagnostic, Place } from "../core/diagnostic.ts";
import { metadata } from "../policy/decode/metadata.ts";
import { childOf, type RawNode, textOf } from "../policy/decode/raw-node.ts";
import { type Cursor, type Fields, record } from "../policy/decode/reader.ts";
import { quote, Report } from "../policy/decode/report.ts";
import { suggestion } from "../policy/decode/suggest.ts";
import { decodeAuthenticationPolicy } from "./decode-authentication.ts";
import { decodeRbacConfig, decodeServiceRole, decodeServiceRoleBinding } from "./decode-rbac.ts";
import type { AuthenticationPolicy, OldObject, RbacConfig, ServiceRole, ServiceRoleBinding } from "./old-objects.ts";
import type { Note, Output } from "./output.ts";

const GROUP = /^(authentication|rbac)\.istio\.io\//;

/** Whether a document is for this conversion; every other one stays as it is. */
export function isOld(node: RawNode): boolean {
  return GROUP.test(textOf(childOf(node, "apiVersion")) ?? "");
}

/** Everything old, by kind. `refused` are the objects that could not be read. */
export interface OldObjects {
  readonly policies: readonly AuthenticationPolicy[];
  readonly roles: readonly ServiceRole[];
  readonly bindings: readonly ServiceRoleBinding[];
  /** `cluster` is of the kind ClusterRbacConfig, which stood above RbacConfig. */
  readonly configs: readonly { readonly config: RbacConfig; readonly cluster: boolean }[];
  readonly reports: readonly DocumentReport[];
}

/** What is wrong with a document: with any error, nothing of it is converted. */
interface DocumentReport {
  /** The kind and the object's name; empty for what is no object of the old API. */
  readonly label: string;
  readonly place: Place;
  readonly report: Report;
}

interface Reader {
  readonly apiVersion: string;
  read(root: Fields, base: OldObject): void;
}

interface Collected {
  readonly policies: AuthenticationPolicy[];
  readonly roles: ServiceRole[];
  readonly bindings: ServiceRoleBinding[];
  readonly configs: { config: RbacConfig; cluster: boolean }[];
}

function push<T>(list: T[], value: T | undefined): void {
  if (value !== undefined) list.push(value);
}

function readers({ policies, roles, bindings, configs }: Collected): Readonly<Record<string, Reader>> {
  const authentication = "authentication.istio.io/v1alpha1";
  const rbac = "rbac.istio.io/v1alpha1";
  const readConfig = (root: Fields, base: OldObject, cluster: boolean): void => {
    const config = decodeRbacConfig(root, base);
    if (config !== undefined) configs.push({ config, cluster });
  };
  return {
    Policy: { apiVersion: authentication, read: (root, base) => push(policies, decodeAuthenticationPolicy(root, base, "namespace")) },
    MeshPolicy: { apiVersion: authentication, read: (root, base) => push(policies, decodeAuthenticationPolicy(root, base, "mesh")) },
    ServiceRole: { apiVersion: rbac, read: (root, base) => push(roles, decodeServiceRole(root, base)) },
    ServiceRoleBinding: { apiVersion: rbac, read: (root, base) => push(bindings, decodeServiceRoleBinding(root, base)) },
    RbacConfig: { apiVersion: rbac, read: (root, base) => readConfig(root, base, false) },
    ClusterRbacConfig: { apiVersion: rbac, read: (root, base) => readConfig(root, base, true) },
  };
}

const CLUSTER_SCOPED: ReadonlySet<string> = new Set(["MeshPolicy", "RbacConfig", "ClusterRbacConfig"]);

/** Answers the object's label; empty where it has none. */
function decodeDocument(root: Fields, rows: Readonly<Record<string, Reader>>): string {
  const { node, report } = root.cursor;
  const kind = textOf(childOf(node, "kind")) ?? "";
  const row = Object.hasOwn(rows, kind) ? rows[kind] : undefined;
  const apiVersion = textOf(childOf(node, "apiVersion"));
  if (row === undefined || row.apiVersion !== apiVersion) {
    root.acceptAll();
    const known = Object.entries(rows).map(([name, { apiVersion: version }]) => `${version} ${name}`);
    const given = `${apiVersion} ${kind}`;
    report.add("GAR0002", node.place, `${quote(given)} has no equal`, suggestion(given, known));
    return "";
  }
  root.accept("apiVersion", "kind", "status");
  const meta = root.required("metadata", metadata("AuthorizationPolicy", node.place));
  if (meta === undefined) {
    root.acceptAll();
    return "";
  }
  const label = CLUSTER_SCOPED.has(kind) ? `${kind} \`${meta.name}\`` : `${kind} \`${meta.namespace}/${meta.name}\``;
  row.read(root, { label, meta, report });
  return label;
}

/** Reads the old documents. Objects with anything wrong keep their report, and are not among the results. */
export function decodeOldObjects(documents: readonly RawNode[]): OldObjects {
  const collected: Collected = { policies: [], roles: [], bindings: [], configs: [] };
  const rows = readers(collected);
  const reports = documents.map((node): DocumentReport => {
    const report = new Report();
    const cursor: Cursor = { node, path: "", report };
    let label = "";
    record((root) => {
      label = decodeDocument(root, rows);
      return label;
    })(cursor);
    return { label, place: node.place, report };
  });
  return { ...collected, reports };
}

/** What all reports say, by place. */
export function diagnosticsOf({ reports }: OldObjects): readonly Diagnostic[] {
  return reports.flatMap(({ report }) => report.diagnostics);
}

/** What goes with an error in one field: the rest of its object. `output`: all that was converted. */
export function lostWith({ reports }: OldObjects, output: Output): readonly Note[] {
  return reports
    .filter(({ label, report }) => label !== "" && report.errors > 0 && !output.has(report))
    .map(({ label, place }) => {
      const parts = /^(?:Mesh)?Policy /.test(label) ? ", neither its mutual TLS nor its tokens" : "";
      return { place, message: `nothing of ${label} is converted${parts}` };
    });
}
