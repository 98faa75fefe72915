/** Resources as they leave here: serialized, filed under their names, and one object wherever they say the same. */
import { hash } from "node:crypto";
import { type DescMessage, type MessageShape, toBinary } from "@bufbuild/protobuf";
import { AppError } from "../../core/error.ts";
import { InternedByKey, InternedLists } from "../../core/interned.ts";
import { keptWith } from "../../core/kept-with.ts";
import { JoinedMap } from "../../core/map-view.ts";
import { typeUrl } from "./any.ts";

/** One resource, serialized. */
export interface EnvoyResource {
  readonly name: string;
  readonly typeUrl: string;
  /** A hash of the body: of one name and type, equal versions mean equal bytes. */
  readonly version: string;
  /** The message inside the `google.protobuf.Any`. */
  readonly body: Uint8Array;
}

export type ResourcesByName = ReadonlyMap<string, EnvoyResource>;

/** Characters of base64url: 132 bits of SHA-256, so that nobody finds two bodies of one version. */
const VERSION_LENGTH = 22;

/** A version of these bytes. */
export function digest(bytes: Uint8Array): string {
  return hash("sha256", bytes, "base64url").slice(0, VERSION_LENGTH);
}

const known = new InternedByKey<EnvoyResource>();

/** A resource of this name. While one of the same bytes is in use anywhere, it is that one. */
export function serialized<M extends DescMessage>(schema: M, name: string, message: MessageShape<M>): EnvoyResource {
  const [url, body] = [typeUrl(schema), toBinary(schema, message)];
  const version = digest(body);
  return known.of(`${url} ${name} ${version}`, () => ({ name, typeUrl: url, version, body }));
}

function ambiguous(url: string | undefined): AppError {
  return new AppError("internal", `two resources of type \`${url}\` have one name`);
}

const lists = new InternedLists<EnvoyResource>();
const mapOf = keptWith((_: object, list: readonly EnvoyResource[]): ResourcesByName => {
  const map = new Map(list.map((resource) => [resource.name, resource]));
  if (map.size < list.length) throw ambiguous(list[0]?.typeUrl);
  return map;
});

/** Resources of one type; the same map for the same resources. Throws where two have one name. */
export function byName(resources: readonly EnvoyResource[]): ResourcesByName {
  return mapOf(resources, lists.of(resources));
}

const join = keptWith(({ shared }: { readonly shared: ResourcesByName }, own: ResourcesByName): ResourcesByName => {
  for (const [name, { typeUrl: url }] of own) if (shared.has(name)) throw ambiguous(url);
  return new JoinedMap(own, shared);
});

/** What is a proxy's own, then what it may share with others, which is copied for nobody; the same map for the same two. */
export function joined(own: ResourcesByName, shared: ResourcesByName): ResourcesByName {
  if (own.size === 0) return shared;
  return shared.size === 0 ? own : join({ shared }, own);
}
