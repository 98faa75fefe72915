/** What the cache holds and streams carry; no word of policy. */

/** One named resource, already serialized: what is the same for several proxies is serialized once and shared. */
export interface Resource {
  readonly name: string;
  /** A hash of the body: equal versions of one name mean equal bytes, so an unchanged resource is never sent again. */
  readonly version: string;
  /** The message inside the `google.protobuf.Any`. */
  readonly body: Uint8Array;
}

/** All that one proxy may see: type URL, then name. Immutable; replaced as a whole. */
export type ResourceSet = ReadonlyMap<string, ReadonlyMap<string, Resource>>;
