/** Istio's older security API, decoded: `authentication.istio.io/v1alpha1` and `rbac.istio.io/v1alpha1`, as Istio 1.4 had them. */
import type { Place } from "../core/diagnostic.ts";
import type { Report } from "../policy/decode/report.ts";
import type { MtlsMode, ObjectMeta } from "../policy/model.ts";

/** What every old object has. */
export interface OldObject {
  /** The name of the kind and of the object, for messages. */
  readonly label: string;
  readonly meta: ObjectMeta;
  /** What is wrong with it: an object with an error is not converted. */
  readonly report: Report;
}

export interface Located<T> {
  readonly value: T;
  readonly place: Place;
}

// === authentication.istio.io ===

export type PathMatch = Located<{ readonly kind: "exact" | "prefix" | "suffix" | "regex"; readonly text: string }>;

/** `Jwt.TriggerRule`: no excluded path matches, and one of the included, if there are any, does. */
export interface TriggerRule {
  readonly excluded: readonly PathMatch[];
  readonly included: readonly PathMatch[];
}

export interface Jwt {
  readonly issuer: string | undefined;
  readonly audiences: readonly string[];
  readonly jwksUri: string | undefined;
  readonly jwks: string | undefined;
  readonly headers: readonly string[];
  readonly params: readonly string[];
  /** OR; empty means every request. */
  readonly triggers: readonly TriggerRule[];
}

export interface Target {
  /** The short name of a service. */
  readonly service: Located<string>;
  /** Ports of the service, by number or name; empty means all. */
  readonly ports: readonly Located<number | string>[];
}

/** `Policy`, or `MeshPolicy`, which has no targets. */
export interface AuthenticationPolicy extends OldObject {
  readonly scope: "mesh" | "namespace";
  readonly targets: readonly Target[];
  /** DISABLE where it names no peers. */
  readonly mode: Extract<MtlsMode, "DISABLE" | "PERMISSIVE" | "STRICT">;
  readonly peerIsOptional: boolean;
  readonly origins: readonly Jwt[];
  readonly originIsOptional: boolean;
  readonly usesPeerPrincipal: boolean;
}

// === rbac.istio.io ===

export interface Condition {
  readonly key: string;
  readonly values: readonly string[];
  readonly place: Place;
}

export interface AccessRule {
  readonly place: Place;
  readonly services: readonly Located<string>[];
  /** The lists that today's operations have by the same names; empty ones left out. */
  readonly operation: Readonly<Partial<Record<OperationField, readonly string[]>>>;
  readonly constraints: readonly Condition[];
}

export const OPERATION_FIELDS = ["hosts", "notHosts", "methods", "notMethods", "paths", "notPaths", "ports", "notPorts"] as const;
export type OperationField = (typeof OPERATION_FIELDS)[number];

export const SUBJECT_LISTS = ["names", "notNames", "groups", "notGroups", "namespaces", "notNamespaces", "ips", "notIps"] as const;
export type SubjectList = (typeof SUBJECT_LISTS)[number];

export interface Subject {
  readonly place: Place;
  readonly user: string | undefined;
  readonly group: string | undefined;
  readonly lists: Readonly<Partial<Record<SubjectList, readonly string[]>>>;
  readonly properties: readonly Condition[];
}

export interface ServiceRole extends OldObject {
  readonly rules: readonly AccessRule[];
}

export interface ServiceRoleBinding extends OldObject {
  readonly role: Located<string>;
  readonly subjects: readonly Subject[];
  readonly permissive: boolean;
}

export interface RbacTargets {
  readonly services: readonly Located<string>[];
  readonly namespaces: readonly Located<string>[];
}

export interface RbacConfig extends OldObject {
  readonly mode: "OFF" | "ON" | "ON_WITH_INCLUSION" | "ON_WITH_EXCLUSION";
  readonly inclusion: RbacTargets;
  readonly exclusion: RbacTargets;
  readonly permissive: boolean;
}
