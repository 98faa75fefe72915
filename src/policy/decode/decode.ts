/** Raw tree -> object of the model, with everything that is wrong with it. */
import type { Diagnostic } from "../../core/diagnostic.ts";
import { type MeshObject, type ObjectMeta, objectKey, type WrittenKind } from "../model.ts";
import { decodeAuthorizationPolicy } from "./authorization-policy.ts";
import { decodeConfigMap } from "./config-map.ts";
import { decodeDestinationRule } from "./destination-rule.ts";
import { decodeGateway } from "./gateway.ts";
import { isDnsLabel, isDnsSubdomain } from "./kubernetes-name.ts";
import { DEFAULT_NAMESPACE, isClusterScoped, metadata } from "./metadata.ts";
import { decodeNamespace } from "./namespace.ts";
import { decodePeerAuthentication } from "./peer-authentication.ts";
import { childOf, type RawNode, textOf } from "./raw-node.ts";
import { type Cursor, type Decoder, type Fields, partialRecord, text } from "./reader.ts";
import { quote, Report } from "./report.ts";
import { decodeRequestAuthentication } from "./request-authentication.ts";
import { decodeSecret } from "./secret.ts";
import { decodeService } from "./service.ts";
import { decodeServiceAccount } from "./service-account.ts";
import { decodeServiceEntry } from "./service-entry.ts";
import { decodeSidecar } from "./sidecar.ts";
import { closest, suggestion } from "./suggest.ts";
import { decodeVirtualService } from "./virtual-service.ts";
import { decodeWorkloadEntry } from "./workload-entry.ts";
import { decodeWorkloadGroup } from "./workload-group.ts";

/** Which object a document is about, as far as it can be told; undefined parts could be anything. */
export interface ObjectClaim {
  readonly kind: WrittenKind | undefined;
  readonly namespace: string | undefined;
  readonly name: string | undefined;
}

export interface DecodedObject {
  /** A valid object, or the closed form of an invalid policy; undefined for any other invalid object. */
  readonly object?: MeshObject;
  readonly valid: boolean;
  /** `Kind NAMESPACE/NAME`; undefined where the document does not tell it. */
  readonly key: string | undefined;
  /** What it may be about; undefined for a kind that is none of ours, by any spelling, and outside the group of the policies. */
  readonly claim: ObjectClaim | undefined;
  /** Nothing in the document looks like an object of Kubernetes: at a start it is passed over. */
  readonly stray?: true;
  readonly diagnostics: readonly Diagnostic[];
}

interface KindRow {
  readonly apiVersions: readonly [string, ...string[]];
  readonly decode: (root: Fields, meta: ObjectMeta) => MeshObject | undefined;
}

const CORE = ["v1"] as const;
const NETWORKING = ["networking.istio.io/v1", "networking.istio.io/v1beta1", "networking.istio.io/v1alpha3"] as const;
const SECURITY = ["security.istio.io/v1", "security.istio.io/v1beta1"] as const;

const KINDS: Readonly<Record<WrittenKind, KindRow>> = {
  Namespace: { apiVersions: CORE, decode: decodeNamespace },
  ServiceAccount: { apiVersions: CORE, decode: decodeServiceAccount },
  Service: { apiVersions: CORE, decode: decodeService },
  ConfigMap: { apiVersions: CORE, decode: decodeConfigMap },
  WorkloadEntry: { apiVersions: NETWORKING, decode: decodeWorkloadEntry },
  WorkloadGroup: { apiVersions: NETWORKING, decode: decodeWorkloadGroup },
  Sidecar: { apiVersions: NETWORKING, decode: decodeSidecar },
  ServiceEntry: { apiVersions: NETWORKING, decode: decodeServiceEntry },
  DestinationRule: { apiVersions: NETWORKING, decode: decodeDestinationRule },
  PeerAuthentication: { apiVersions: SECURITY, decode: decodePeerAuthentication },
  RequestAuthentication: { apiVersions: SECURITY, decode: decodeRequestAuthentication },
  AuthorizationPolicy: { apiVersions: SECURITY, decode: decodeAuthorizationPolicy },
  Gateway: { apiVersions: NETWORKING, decode: decodeGateway },
  VirtualService: { apiVersions: NETWORKING, decode: decodeVirtualService },
  Secret: { apiVersions: CORE, decode: decodeSecret },
};

const KIND_NAMES = Object.keys(KINDS);

function isKind(name: string): name is WrittenKind {
  return Object.hasOwn(KINDS, name);
}

const kind: Decoder<WrittenKind> = (cursor) => {
  const value = text(cursor);
  if (value === undefined || isKind(value)) return value;
  cursor.report.add("GAR0002", cursor.node.place, `kind ${quote(value)} is not supported`, suggestion(value, KIND_NAMES));
  return undefined;
};

function apiVersionOf(name: WrittenKind): Decoder<string> {
  const { apiVersions } = KINDS[name];
  return (cursor) => {
    const value = text(cursor);
    if (value === undefined || apiVersions.includes(value)) return value;
    cursor.report.add("GAR0002", cursor.node.place, `version ${quote(value)} of ${name} is not supported`, suggestion(value, apiVersions));
    return undefined;
  };
}

/** Too little is known to say what else the document may hold. */
function giveUp(root: Fields): Identified {
  root.acceptAll();
  return { key: undefined, object: undefined };
}

interface Identified {
  readonly key: string | undefined;
  readonly object: MeshObject | undefined;
}

/** What `kubectl get -o yaml` prints. */
function isList(node: RawNode): boolean {
  const name = textOf(childOf(node, "kind")) ?? "";
  return name === "List" || (name.endsWith("List") && isKind(name.slice(0, -"List".length)));
}

function decodeRoot(root: Fields): Identified {
  const { node, report } = root.cursor;
  if (isList(node)) {
    report.add("GAR0002", node.place, "a List is not taken apart", "write its items as documents of their own, with `---` between them");
    return giveUp(root);
  }
  const name = root.required("kind", kind);
  if (name === undefined) return giveUp(root);
  const version = root.required("apiVersion", apiVersionOf(name));
  if (version === undefined) return giveUp(root);
  const meta = root.required("metadata", metadata(name, root.cursor.node.place));
  if (meta === undefined) return giveUp(root);
  // What a controller has seen; it is never configuration.
  root.accept("status");
  return { key: objectKey({ kind: name, meta }), object: KINDS[name].decode(root, meta) };
}

const ANYTHING: ObjectClaim = { kind: undefined, namespace: undefined, name: undefined };

function isOfSecurity(node: RawNode): boolean {
  return textOf(childOf(node, "apiVersion"))?.startsWith("security.istio.io/") === true;
}

/** `told`: whether the document's own key is known. */
function claimOf(node: RawNode, told: boolean): ObjectClaim | undefined {
  if (isList(node)) return ANYTHING;
  const kindText = textOf(childOf(node, "kind"));
  const meant = kindText === undefined ? undefined : closest(kindText, KIND_NAMES);
  if (kindText !== undefined && meant === undefined && !isOfSecurity(node)) return undefined;
  const claimed = meant !== undefined && isKind(meant) ? meant : undefined;
  const meta = childOf(node, "metadata");
  const name = textOf(childOf(meta, "name"));
  return {
    kind: claimed,
    name: name !== undefined && isDnsSubdomain(name) ? name : undefined,
    namespace: claimedNamespace(claimed, meta, told),
  };
}

function claimedNamespace(claimed: WrittenKind | undefined, meta: RawNode | undefined, told: boolean): string | undefined {
  if (claimed !== undefined && isClusterScoped(claimed)) return "";
  const node = childOf(meta, "namespace");
  // One that is not written may be misspelt, where the document does not tell what it is.
  if (meta?.kind === "map" && node === undefined) return told ? DEFAULT_NAMESPACE : undefined;
  const namespace = textOf(node);
  return namespace !== undefined && isDnsLabel(namespace) ? namespace : undefined;
}

/**
 * The closed form of an object that is invalid: a policy that lets nothing through in its scope. Other kinds have none:
 * what is not there is neither served nor reached.
 */
export function closedForm(object: MeshObject): MeshObject | undefined {
  if (object.kind === "AuthorizationPolicy") return { ...object, rules: "invalid" };
  if (object.kind === "PeerAuthentication") return { ...object, mtls: "invalid", portLevelMtls: new Map() };
  if (object.kind === "RequestAuthentication") return { ...object, jwtRules: "invalid" };
  // Without it, what it encrypts to a server outside would go out in the clear.
  if (object.kind === "DestinationRule") return { ...object, trafficPolicy: "invalid" };
  return undefined;
}

/** Kinds of which an object that is missing may let through what it would stop. */
const STOPPING: ReadonlySet<WrittenKind> = new Set([
  "AuthorizationPolicy",
  "PeerAuthentication",
  "RequestAuthentication",
  "DestinationRule",
]);

/** Whether a document is, or may be, an object that stops something, and does not tell which: so that it cannot even be closed. */
export function hidesPolicy({ key, claim, stray }: DecodedObject): boolean {
  return key === undefined && stray === undefined && claim !== undefined && (claim.kind === undefined || STOPPING.has(claim.kind));
}

/** Whether an object is the closed form of an invalid policy. */
export function isClosedForm(object: MeshObject): boolean {
  if (object.kind === "AuthorizationPolicy") return object.rules === "invalid";
  if (object.kind === "RequestAuthentication") return object.jwtRules === "invalid";
  if (object.kind === "DestinationRule") return object.trafficPolicy === "invalid";
  return object.kind === "PeerAuthentication" && object.mtls === "invalid";
}

const OBJECT_KEYS: ReadonlySet<string> = new Set(["apiversion", "kind", "metadata", "spec"]);

/** Whether anything in it says that it is an object, or a part of one; a stopping one may also have slid below another key, or into a list. */
function looksLikeObject(node: RawNode, isRoot = true): boolean {
  if (node.kind === "list") return node.items.some((item) => looksLikeObject(item, false));
  if (node.kind !== "map") return node.kind === "unusable";
  if (isRoot && node.entries.some(({ key }) => OBJECT_KEYS.has(key.toLowerCase()))) return true;
  const name = textOf(childOf(node, "kind"));
  if (isOfSecurity(node) || (name !== undefined && isKind(name) && STOPPING.has(name))) return true;
  return node.entries.some(({ value }) => looksLikeObject(value, false));
}

/** A document that nothing tells of: a values file, a list of something else, a text. */
function decodeStray(node: RawNode): DecodedObject {
  const message = "the document is no object: it has none of `apiVersion`, `kind`, `metadata` and `spec`";
  const help = "take it out of the folder if it belongs to something else";
  return {
    valid: false,
    key: undefined,
    claim: ANYTHING,
    stray: true,
    diagnostics: [{ code: "GAR0216", message, place: node.place, help }],
  };
}

function notAMap(cursor: Cursor): undefined {
  cursor.report.add("GAR0006", cursor.node.place, "a document must be a map with `apiVersion`, `kind` and `metadata`");
  return undefined;
}

function byPlace({ place: left }: Diagnostic, { place: right }: Diagnostic): number {
  return left.line - right.line || left.column - right.column;
}

/** Decodes one document. Never throws: whatever is wrong is a diagnostic, and an invalid policy is closed. */
export function decodeObject(node: RawNode): DecodedObject {
  if (!looksLikeObject(node)) return decodeStray(node);
  const report = new Report();
  const cursor: Cursor = { node, path: "", report };
  const decoded = node.kind === "map" ? partialRecord(decodeRoot)(cursor) : notAMap(cursor);
  const valid = report.errors === 0;
  const object = decoded?.object === undefined || valid ? decoded?.object : closedForm(decoded.object);
  return {
    ...(object === undefined ? {} : { object }),
    valid,
    key: decoded?.key,
    claim: claimOf(node, decoded?.key !== undefined),
    diagnostics: [...report.diagnostics].sort(byPlace),
  };
}
