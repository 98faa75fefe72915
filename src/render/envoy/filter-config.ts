/** Filters as extension configs of their own (ECDS), named after their workload. */
import type { Any } from "@bufbuild/protobuf/wkt";
import { TypedExtensionConfigSchema } from "../../gen/envoy/config/core/v3/extension_pb.js";
import { typeUrl } from "./any.ts";
import { digest, type EnvoyResource, type ResourcesByName } from "./resource.ts";
import { delimited, textThen } from "./wire.ts";

/** A filter's name, and what it does: an object that workloads may share. */
export interface FilterConfig {
  readonly name: string;
  readonly config: Any;
}

export const FILTER = typeUrl(TypedExtensionConfigSchema);

/** Fields of `TypedExtensionConfig`. */
const NAME = 1;
const TYPED_CONFIG = 2;

/** Fields of `google.protobuf.Any`. */
const ANY = { typeUrl: 1, value: 2 } as const;
const NOTHING = new Uint8Array();
const typeFields = new Map<string, Uint8Array>();

/** There are as many as there are kinds of filters. */
function typeField(url: string): Uint8Array {
  const field = typeFields.get(url) ?? delimited(ANY.typeUrl, new TextEncoder().encode(url));
  typeFields.set(url, field);
  return field;
}

/** A config as all filters carry it: the field with it, and the hash of that. */
interface Written {
  readonly field: Uint8Array;
  readonly version: string;
}

const written = new WeakMap<Any, Written>();

/** Written once for all workloads that have it. */
function writtenOf(config: Any): Written {
  const known = written.get(config);
  if (known !== undefined) return known;
  const field = delimited(
    TYPED_CONFIG,
    typeField(config.typeUrl),
    config.value.length === 0 ? NOTHING : delimited(ANY.value, config.value),
  );
  const made = { field, version: digest(field) };
  written.set(config, made);
  return made;
}

/** A workload's filter. It holds its name alone; its message is put together when it is sent, and is what `toBinary` would write. */
class NamedFilter implements EnvoyResource {
  readonly name: string;
  readonly #config: Written;

  constructor(name: string, config: Written) {
    this.name = name;
    this.#config = config;
  }

  get typeUrl(): string {
    return FILTER;
  }

  /** Of the config alone: versions are compared of one name. */
  get version(): string {
    return this.#config.version;
  }

  get body(): Uint8Array {
    return textThen(NAME, this.name, this.#config.field);
  }
}

/** The filter as a resource. */
export function filterResource({ name, config }: FilterConfig): EnvoyResource {
  return new NamedFilter(name, writtenOf(config));
}

interface Rendered {
  readonly filters: readonly FilterConfig[];
  readonly resources: ResourcesByName;
}

/** Filters as resources. `own` is one object for one proxy: what of them is the same as the last time is the same object. */
export function filterKeeper(): (filters: readonly FilterConfig[], own: object) => ResourcesByName {
  const last = new WeakMap<object, Rendered>();
  return (filters, own) => {
    const before = last.get(own);
    const resources = new Map<string, EnvoyResource>();
    let [same, at] = [before?.filters.length === filters.length, 0];
    for (const filter of filters) {
      const known = before?.filters[at++];
      const kept = known?.name === filter.name && known.config === filter.config ? before?.resources.get(filter.name) : undefined;
      same &&= kept !== undefined;
      resources.set(filter.name, kept ?? filterResource(filter));
    }
    if (same && before !== undefined) return before.resources;
    last.set(own, { filters, resources });
    return resources;
  };
}
