/** Filters as extension configs of their own (ECDS), named after their workload. */

import { toBinary } from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { type Any, AnySchema } from "@bufbuild/protobuf/wkt";
import { TypedExtensionConfigSchema } from "../../gen/envoy/config/core/v3/extension_pb.js";
import { typeUrl } from "./any.ts";
import { type EnvoyResource, ownResource, type ResourcesByName } from "./resource.ts";

/** A filter's name, and what it does: an object that workloads may share. */
export interface FilterConfig {
  readonly name: string;
  readonly config: Any;
}

export const FILTER = typeUrl(TypedExtensionConfigSchema);

/** Fields of `TypedExtensionConfig`. */
const NAME = 1;
const TYPED_CONFIG = 2;

const serialized = new WeakMap<Any, Uint8Array>();

/** The field with the config, serialized once for all workloads that have it. */
function configField(config: Any): Uint8Array {
  const known = serialized.get(config);
  if (known !== undefined) return known;
  const field = new BinaryWriter().tag(TYPED_CONFIG, WireType.LengthDelimited).bytes(toBinary(AnySchema, config)).finish();
  serialized.set(config, field);
  return field;
}

/** The message, as `toBinary` would write it, in memory of its own: it is kept long. */
export function filterResource({ name, config }: FilterConfig): EnvoyResource {
  const [first, second] = [new BinaryWriter().tag(NAME, WireType.LengthDelimited).string(name).finish(), configField(config)];
  const body = new Uint8Array(first.length + second.length);
  body.set(first);
  body.set(second, first.length);
  return ownResource(FILTER, name, body);
}

interface Rendered {
  readonly configs: ReadonlyMap<string, Any>;
  readonly resources: ResourcesByName;
}

const last = new WeakMap<object, Rendered>();

/** A workload's filters. `own` is one object for one proxy: what of them is the same as the last time is the same object. */
export function filterResources(filters: readonly FilterConfig[], own: object): ResourcesByName {
  const before = last.get(own);
  const isSame = ({ name, config }: FilterConfig): boolean => before?.configs.get(name) === config;
  if (before?.configs.size === filters.length && filters.every(isSame)) return before.resources;
  const kept = (filter: FilterConfig) => (isSame(filter) ? before?.resources.get(filter.name) : undefined);
  const resources = new Map(filters.map((filter) => [filter.name, kept(filter) ?? filterResource(filter)]));
  last.set(own, { configs: new Map(filters.map(({ name, config }) => [name, config])), resources });
  return resources;
}
