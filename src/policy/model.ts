/**
 * The objects that users write, decoded: closed unions with every field read. What cannot be decoded is a diagnostic,
 * and for a policy also a closed value (`rules: "invalid"`), never a skipped element.
 */
import type { ObjectMeta } from "./model/object.ts";
import type { AuthorizationPolicyObject, PeerAuthenticationObject, RequestAuthenticationObject } from "./model/policies.ts";
import type { EndpointSliceObject, ServiceEntryObject, ServiceObject } from "./model/services.ts";
import type { DestinationRuleObject, GatewayObject, SecretObject, SidecarObject, VirtualServiceObject } from "./model/traffic.ts";
import type {
  ConfigMapObject,
  NamespaceObject,
  PodObject,
  ServiceAccountObject,
  WorkloadEntryObject,
  WorkloadGroupObject,
} from "./model/workloads.ts";

export type * from "./model/object.ts";
export type * from "./model/policies.ts";
export type * from "./model/services.ts";
export type * from "./model/traffic.ts";
export type * from "./model/workloads.ts";

export type MeshObject =
  | NamespaceObject
  | ServiceAccountObject
  | ServiceObject
  | EndpointSliceObject
  | ConfigMapObject
  | WorkloadEntryObject
  | WorkloadGroupObject
  | PodObject
  | SidecarObject
  | ServiceEntryObject
  | DestinationRuleObject
  | PeerAuthenticationObject
  | RequestAuthenticationObject
  | AuthorizationPolicyObject
  | GatewayObject
  | VirtualServiceObject
  | SecretObject;

export type ObjectKind = MeshObject["kind"];

/** The kinds that people write; the others are only ever observed. */
export type WrittenKind = Exclude<ObjectKind, "Pod" | "EndpointSlice">;

/** `Kind NAMESPACE/NAME`, unique in a snapshot. */
export function objectKey(object: { readonly kind: ObjectKind; readonly meta: Pick<ObjectMeta, "namespace" | "name"> }): string {
  const { namespace, name } = object.meta;
  return `${object.kind} ${namespace === "" ? name : `${namespace}/${name}`}`;
}
