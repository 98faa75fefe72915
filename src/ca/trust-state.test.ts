import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeCa } from "../../test/fakes/fake-ca.ts";
import { silentLogger } from "../core/logger.ts";
import type { TrustBundles } from "../identity/trust-bundle.ts";
import { parseTrustDomain, type TrustDomain } from "../identity/trust-domain.ts";
import { authorityId } from "./authority-id.ts";
import { TrustSource } from "./trust-state.ts";

const [EAST, OLD, WEST] = ["east.example", "old.example", "west.example"].map(parseTrustDomain) as [TrustDomain, TrustDomain, TrustDomain];
const [own, added, west] = [new FakeCa("own"), new FakeCa("added"), new FakeCa("west")];
const NAMES = new Map([
  [own.rootPem, "own"],
  [added.rootPem, "added"],
  [west.rootPem, "west"],
]);
const SIGNED = { jwks: '{"keys":[]}', sequence: 1, refreshHintSeconds: 300 };

interface World {
  readonly aliases?: readonly TrustDomain[];
  readonly configured?: ReadonlyMap<TrustDomain, string>;
  readonly federated?: TrustBundles;
  readonly unlisted?: () => string;
}

function open({ aliases = [], configured = new Map(), federated = new Map(), unlisted = () => "" }: World): TrustSource {
  return new TrustSource({
    trustDomain: EAST,
    own: () => ({ roots: own.rootPem, jwks: "{}" }),
    numbered: (content) => ({ ...content, sequence: 7, refreshHintSeconds: 300 }),
    tainted: () => new Set(),
    revocationLists: () => "lists",
    unlisted,
    federated: () => federated,
    configured: () => configured,
    aliases: () => aliases,
    logger: silentLogger,
  });
}

/** `DOMAIN: ROOT, ROOT`. */
function shown(world: World): readonly string[] {
  const source = open(world);
  source.close();
  return [...source.current.bundles].map(([name, { roots }]) => {
    const found = roots.split(/(?<=-----END CERTIFICATE-----\n)/).map((pem) => NAMES.get(pem));
    return `${name}: ${found.join(", ")}`;
  });
}

test("a root of all the mesh's names stands in its one bundle, beside the CA's", () => {
  const configured = new Map([
    [EAST, added.rootPem],
    [OLD, added.rootPem],
  ]);
  assert.deepEqual(shown({ aliases: [OLD], configured }), ["east.example: own, added"]);
});

test("a root of one of the mesh's names alone makes a bundle for each, so that it vouches for no other", () => {
  assert.deepEqual(shown({ aliases: [OLD], configured: new Map([[OLD, added.rootPem]]) }), [
    "old.example: own, added",
    "east.example: own",
  ]);
  assert.deepEqual(shown({ aliases: [OLD], configured: new Map([[EAST, added.rootPem]]) }), [
    "old.example: own",
    "east.example: own, added",
  ]);
});

test("a root of another domain stands in a bundle of that domain, with what is fetched of it", () => {
  assert.deepEqual(shown({ configured: new Map([[WEST, added.rootPem]]) }), ["west.example: added", "east.example: own"]);
  const federated: TrustBundles = new Map([[WEST, { roots: west.rootPem, ...SIGNED }]]);
  assert.deepEqual(shown({ federated, configured: new Map([[WEST, added.rootPem + west.rootPem]]) }), [
    "west.example: west, added",
    "east.example: own",
  ]);
});

test("what is revoked is told unless another CA may have certified a server of the mesh, since whose issuer has no list is refused", () => {
  const toldIn = (world: World) => {
    const source = open(world);
    source.close();
    return [source.current.revocationLists, source.unlisted];
  };
  const told = ["lists", ""];
  assert.deepEqual(toldIn({ aliases: [OLD] }), told);
  assert.deepEqual(toldIn({ aliases: [OLD], configured: new Map([[WEST, added.rootPem]]) }), told);
  assert.deepEqual(toldIn({ aliases: [OLD], federated: new Map([[WEST, { roots: west.rootPem, ...SIGNED }]]) }), told);
  assert.deepEqual(toldIn({ aliases: [OLD], configured: new Map([[EAST, own.rootPem]]) }), told);
  for (const domain of [EAST, OLD]) {
    const [lists, why] = toldIn({ aliases: [OLD], configured: new Map([[domain, added.rootPem]]) });
    assert.equal(lists, "");
    assert.match(why ?? "", /^the MeshConfig names roots of another CA for the mesh's own trust domain/);
  }
});

test("what others vouch for is never among the roots of the CA, whose rotation is told by those", () => {
  const source = open({ configured: new Map([[EAST, added.rootPem + own.rootPem]]) });
  source.close();
  assert.deepEqual([...source.current.roots], [authorityId(own.root)]);
  assert.equal(source.own.roots, own.rootPem + added.rootPem);
});

test("why there is no whole list is known at once, and makes no other state, which every agent would be sent", () => {
  let why = "";
  const source = open({ unlisted: () => why });
  source.close();
  let told = 0;
  source.onChange(() => {
    told += 1;
  });
  const before = source.current;
  why = "the issuer of 7f was replaced before it could list them";
  source.refresh();
  assert.deepEqual([source.unlisted, told], [why, 0]);
  assert.equal(source.current, before);
});
