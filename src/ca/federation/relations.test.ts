import assert from "node:assert/strict";
import { test } from "node:test";
import { rawNode } from "../../../test/fixture/raw-node.ts";
import { decodeRelations } from "./relations.ts";

const WEB = { trustDomain: "west.example", url: "https://west.example/", profile: "https_web" };
const decode = (...federatesWith: readonly object[]) =>
  decodeRelations(rawNode({ federatesWith }), "/etc/garrison", ["east.example", "old.example"]);

test("relations are read, files beside the file that names them, stale after a day", () => {
  const { relations, diagnostics } = decode(
    { ...WEB, caFile: "ca.pem" },
    {
      ...WEB,
      trustDomain: "south.example",
      profile: "https_spiffe",
      endpointSpiffeId: "spiffe://south.example/x",
      bundleFile: "b.json",
      staleAfter: "30m",
    },
  );
  assert.deepEqual(diagnostics, []);
  assert.deepEqual(relations, [
    {
      trustDomain: "west.example",
      url: WEB.url,
      proof: { profile: "https_web", caFile: "/etc/garrison/ca.pem" },
      staleAfterMs: 86_400_000,
    },
    {
      trustDomain: "south.example",
      url: WEB.url,
      proof: { profile: "https_spiffe", endpointSpiffeId: "spiffe://south.example/x", bundleFile: "/etc/garrison/b.json" },
      staleAfterMs: 1_800_000,
    },
  ]);
});

const SPIFFE = { ...WEB, profile: "https_spiffe", endpointSpiffeId: "spiffe://west.example/x", bundleFile: "b.json" };
const refused: readonly (readonly [string, readonly object[]])[] = [
  ["the mesh's own trust domain", [{ ...WEB, trustDomain: "east.example" }]],
  ["an alias of the mesh", [{ ...WEB, trustDomain: "old.example" }]],
  ["`cluster.local`, by which policies mean the mesh", [{ ...WEB, trustDomain: "cluster.local" }]],
  ["a domain twice", [WEB, WEB]],
  ["what is no trust domain", [{ ...WEB, trustDomain: "West" }]],
  ["a domain whose name no file can have", [{ ...WEB, trustDomain: "w".repeat(250) }]],
  ["plaintext", [{ ...WEB, url: "http://west.example/" }]],
  ["a URL with a password", [{ ...WEB, url: "https://a:b@west.example/" }]],
  ["another profile", [{ ...WEB, profile: "http" }]],
  ["no profile", [{ trustDomain: "west.example", url: WEB.url }]],
  ["a field that is not known", [{ ...WEB, insecure: true }]],
  ["an endpoint without a first bundle", [{ ...SPIFFE, bundleFile: undefined }].map(({ bundleFile: _, ...rest }) => rest)],
  ["an endpoint of another domain", [{ ...SPIFFE, endpointSpiffeId: "spiffe://south.example/x" }]],
  ["files of the other profile", [{ ...WEB, bundleFile: "b.json" }]],
  ["a time that is too short", [{ ...WEB, staleAfter: "1s" }]],
];
for (const [name, relations] of refused)
  test(`a federation is refused with ${name}`, () => {
    assert.notDeepEqual(decode(...relations).diagnostics, []);
  });
