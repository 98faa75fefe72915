/** Resources as they leave here: serialized, filed under their names, and one object wherever they say the same. */
import { hash } from "node:crypto";
import { type DescMessage, type MessageShape, toBinary } from "@bufbuild/protobuf";
import { AppError } from "../../core/error.ts";
import { InternedLists } from "../../core/interned.ts";
import { keptWith } from "../../core/kept-with.ts";
import { typeUrl } from "./any.ts";

/** One resource, serialized. */
export interface EnvoyResource {
  readonly name: string;
  readonly typeUrl: string;
  /** The message inside the `google.protobuf.Any`. */
  readonly body: Uint8Array;
}

export type ResourceList = readonly EnvoyResource[];
export type ResourcesByName = ReadonlyMap<string, EnvoyResource>;

const known = new Map<string, WeakRef<EnvoyResource>>();
const forgotten = new FinalizationRegistry<string>((key) => {
  if (known.get(key)?.deref() === undefined) known.delete(key);
});

/** A resource of this name. While one of the same bytes is in use anywhere, it is that one. */
export function serialized<M extends DescMessage>(schema: M, name: string, message: MessageShape<M>): EnvoyResource {
  const [url, body] = [typeUrl(schema), toBinary(schema, message)];
  const key = `${url} ${name} ${hash("sha256", body, "base64url")}`;
  const before = known.get(key)?.deref();
  if (before !== undefined) return before;
  const resource = { name, typeUrl: url, body };
  known.set(key, new WeakRef(resource));
  forgotten.register(resource, key);
  return resource;
}

const lists = new InternedLists<EnvoyResource>();

/** The same list for the same resources. */
export function listed(resources: ResourceList): ResourceList {
  return lists.of(resources);
}

/** Two lists of one type by name; the same map for the same lists. Throws where two resources have one name. */
const join = keptWith(({ last }: { readonly last: ResourceList }, first: ResourceList): ResourcesByName => {
  const all = [...first, ...last];
  const byName = new Map(all.map((resource) => [resource.name, resource]));
  if (byName.size < all.length) throw new AppError("internal", `two resources of type \`${all[0]?.typeUrl}\` have one name`);
  return byName;
});

/** Resources of one type by name: those that are a proxy's own, then those that it may share with others. */
export function byName(own: ResourceList, shared: ResourceList = NONE): ResourcesByName {
  return join({ last: shared }, own);
}

const NONE: ResourceList = listed([]);
