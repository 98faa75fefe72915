import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { meta, SETTINGS, workloadEntry } from "../../test/fixture/objects.ts";
import { parseTrustDomain } from "../identity/trust-domain.ts";
import { DEFAULT_MESH_CONFIG, type MeshConfig } from "../policy/mesh-config.ts";
import type { MeshObject } from "../policy/model.ts";
import { admitMeshConfig, effectiveSettings, meshConfigOf } from "./mesh-config.ts";
import { buildSnapshot } from "./snapshot.ts";

const CORP = parseTrustDomain("corp.example");
const OTHER = parseTrustDomain("other.example");

function configMap(mesh: Partial<MeshConfig>, key = "istio-system/istio"): MeshObject {
  return { kind: "ConfigMap", meta: meta(key), mesh: { ...DEFAULT_MESH_CONFIG, ...mesh } };
}

describe("effectiveSettings", () => {
  it("are the command line's where the mesh says nothing", () => {
    assert.deepEqual(effectiveSettings(SETTINGS, []), SETTINGS);
    assert.equal(meshConfigOf(SETTINGS, []), DEFAULT_MESH_CONFIG);
  });

  it("are the mesh's where it says something", () => {
    const settings = effectiveSettings(SETTINGS, [configMap({ trustDomain: CORP, rootNamespace: "root" })]);
    assert.deepEqual(settings, { ...SETTINGS, trustDomain: CORP, rootNamespace: "root" });
  });

  it("take the ConfigMap of the command line's root namespace, and no other", () => {
    const objects = [configMap({ trustDomain: OTHER }, "shop/istio"), configMap({ trustDomain: CORP }, "root/istio")];
    assert.equal(effectiveSettings({ ...SETTINGS, rootNamespace: "root" }, objects).trustDomain, CORP);
    assert.equal(effectiveSettings(SETTINGS, objects).trustDomain, SETTINGS.trustDomain);
  });

  it("give each identity its trust domain, and each workload what it says of its proxy or the mesh of all", () => {
    const objects = [
      configMap({ trustDomain: CORP, defaultConfig: { numTrustedProxies: 2, tellsDenials: true } }),
      workloadEntry("shop/a"),
      { ...workloadEntry("shop/b"), proxyConfig: { numTrustedProxies: 0, tellsDenials: false } } as MeshObject,
      { ...workloadEntry("shop/c"), proxyConfig: { numTrustedProxies: undefined, tellsDenials: undefined } } as MeshObject,
    ];
    const { workloads } = buildSnapshot(SETTINGS, objects);
    const shown = [...workloads.values()].map(
      ({ identity, numTrustedProxies, tellsDenials }) => `${identity} ${numTrustedProxies} ${tellsDenials}`,
    );
    const at = (name: string): string => `spiffe://corp.example/ns/shop/sa/${name}`;
    assert.deepEqual(shown, [`${at("a")} 2 true`, `${at("b")} 0 false`, `${at("c")} 2 true`]);
  });
});

describe("admitMeshConfig", () => {
  const fixed = { trustDomain: CORP };
  const given = { ...SETTINGS, trustDomain: CORP };
  const good = configMap({ trustDomain: CORP, pathNormalization: "MERGE_SLASHES" });
  const bad = configMap({ trustDomain: OTHER, pathNormalization: "NONE" });

  it("takes what contradicts nothing", () => {
    for (const objects of [[], [good], [configMap({})]]) {
      assert.deepEqual(admitMeshConfig(given, fixed, objects), { objects, diagnostics: [] });
    }
  });

  it("keeps the last one as a whole where the trust domain would change, and says so", () => {
    const { objects, diagnostics } = admitMeshConfig(given, fixed, [workloadEntry("shop/a"), bad], [good]);
    assert.deepEqual(
      objects.map(({ kind }) => kind),
      ["WorkloadEntry", "ConfigMap"],
    );
    assert.equal(meshConfigOf(given, objects).pathNormalization, "MERGE_SLASHES");
    assert.deepEqual(
      diagnostics.map(({ code, message }) => `${code} ${message}`),
      ["GAR0107 `trustDomain` would be `other.example`, and is `corp.example`"],
    );
  });

  it("takes none where there was none before", () => {
    const { objects, diagnostics } = admitMeshConfig(given, { ...fixed, rootNamespace: "root" }, [configMap({ rootNamespace: "other" })]);
    assert.deepEqual(objects, []);
    assert.deepEqual(
      diagnostics.map(({ message }) => message),
      ["`rootNamespace` would be `other`, and is `root`"],
    );
  });

  it("tells of a ConfigMap elsewhere, which configures nothing", () => {
    const stray = configMap({ trustDomain: OTHER }, "shop/istio");
    const { objects, diagnostics } = admitMeshConfig(given, fixed, [good, stray]);
    assert.deepEqual(objects, [good, stray]);
    assert.deepEqual(
      diagnostics.map(({ code, message }) => `${code} ${message}`),
      ["GAR0014 ConfigMap `shop/istio` is not used by Garrison"],
    );
  });

  it("gives way to the last one, too, where a check finds an error, and takes one with warnings alone", () => {
    const told = (code: "GAR0320" | "GAR0321") => ({ code, message: "roots", place: meta("istio-system/istio").place });
    const check = (code: "GAR0320" | "GAR0321") => () => [told(code)];
    const other = configMap({ trustDomain: CORP, pathNormalization: "NONE" });
    assert.deepEqual(admitMeshConfig(given, fixed, [other], [good], check("GAR0320")), {
      objects: [good],
      diagnostics: [told("GAR0320")],
      refused: other,
    });
    assert.deepEqual(admitMeshConfig(given, fixed, [other], [good], check("GAR0321")), {
      objects: [other],
      diagnostics: [told("GAR0321")],
    });
  });
});
