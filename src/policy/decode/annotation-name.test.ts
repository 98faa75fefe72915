import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { parseYamlDocuments } from "../../sources/yaml-documents.ts";
import { decodeObject } from "./decode.ts";

/** What is said of a policy with this annotation, which must not make it invalid. */
function told(key: string, value = "x"): readonly string[] {
  const text = `apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata:\n  name: a\n  annotations:\n    ${key}: "${value}"\nspec: {}\n`;
  const { documents } = parseYamlDocuments(text, "a.yaml");
  const { diagnostics, valid } = decodeObject(documents[0] ?? assert.fail("no document"));
  assert.equal(valid, true, JSON.stringify(diagnostics));
  return diagnostics.map(({ code, message, place, help }) => `${code} ${place.line}:${place.column} ${message} => ${help}`);
}

describe("an annotation that nobody knows", () => {
  for (const [key, meant] of [
    ["istio.io/dryrun", "istio.io/dry-run"],
    ["istio.io/dry_run", "istio.io/dry-run"],
    ["istio.io/Dry-Run", "istio.io/dry-run"],
    ["security.istio.io/dry-run", "istio.io/dry-run"],
    ["sidecar.istio.io/interceptionmode", "sidecar.istio.io/interceptionMode"],
    ["istio.io/interceptionMode", "sidecar.istio.io/interceptionMode"],
    ["proxy.istio.io/conf", "proxy.istio.io/config"],
    ["inject.istio.io/template", "inject.istio.io/templates"],
    ["traffic.sidecar.istio.io/excludeInboundPort", "traffic.sidecar.istio.io/excludeInboundPorts"],
    ["garrison.dev/dry-run", "istio.io/dry-run"],
  ] as const)
    it(`is told of with the one that is meant: ${key}`, () =>
      assert.deepEqual(told(key), [`GAR0218 6:5 the annotation \`${key}\` is not known, and has no effect => did you mean \`${meant}\`?`]));

  it("is told of where nothing like it is known", () =>
    assert.deepEqual(told("garrison.dev/whatever"), [
      "GAR0218 6:5 the annotation `garrison.dev/whatever` is not known, and has no effect => remove it: nothing here reads it",
    ]));

  for (const key of [
    "istio.io/rev",
    "sidecar.istio.io/proxyCPU",
    "sidecar.istio.io/statsInclusionPrefixes",
    "networking.istio.io/exportTo",
    "ambient.istio.io/redirection",
    "kubectl.kubernetes.io/last-applied-configuration",
    "example.org/dry-run",
    "note",
  ])
    it(`is none of Istio's own, of its other domains, or of others: ${key}`, () => assert.deepEqual(told(key), []));
});
