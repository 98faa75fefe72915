import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { labels, meta, snapshotOf, workloadEntry } from "../../test/fixture/objects.ts";
import type { MtlsMode, PeerAuthenticationObject } from "../policy/model.ts";
import { effectiveMtls } from "./mtls.ts";
import type { EffectiveMtls } from "./workload-policy.ts";

type Policy = readonly [
  key: string,
  mtls: MtlsMode | "invalid",
  more?: { readonly app?: string; readonly ports?: Readonly<Record<number, MtlsMode>>; readonly created?: number },
];

function peerAuthentication([key, mtls, more = {}]: Policy): PeerAuthenticationObject {
  const ports = new Map(Object.entries(more.ports ?? {}).map(([port, mode]) => [Number(port), mode]));
  return {
    kind: "PeerAuthentication",
    meta: meta(key, { created: more.created ?? 0 }),
    selector: labels(more.app === undefined ? {} : { app: more.app }),
    mtls,
    portLevelMtls: ports,
  };
}

interface Case {
  readonly name: string;
  readonly policies: readonly Policy[];
  readonly expect: EffectiveMtls;
  readonly workload?: string;
  readonly port?: number;
}

const CASES: readonly Case[] = [
  { name: "nothing is PERMISSIVE (PA-1)", policies: [], expect: "PERMISSIVE" },
  { name: "the root namespace holds for the mesh (PA-1)", policies: [["istio-system/default", "STRICT"]], expect: "STRICT" },
  { name: "another namespace's policy does not hold (PA-1)", policies: [["other/default", "STRICT"]], expect: "PERMISSIVE" },
  {
    name: "the namespace is narrower than the mesh (PA-1)",
    policies: [
      ["istio-system/default", "STRICT"],
      ["shop/default", "PERMISSIVE"],
    ],
    expect: "PERMISSIVE",
  },
  {
    name: "the workload is narrower than the namespace (PA-1)",
    policies: [
      ["shop/default", "STRICT"],
      ["shop/cart", "DISABLE", { app: "cart" }],
    ],
    expect: "DISABLE",
  },
  {
    name: "UNSET inherits from the parent (PA-1)",
    policies: [
      ["istio-system/default", "STRICT"],
      ["shop/default", "UNSET"],
      ["shop/cart", "UNSET", { app: "cart" }],
    ],
    expect: "STRICT",
  },
  { name: "UNSET in the whole mesh is PERMISSIVE", policies: [["istio-system/default", "UNSET"]], expect: "PERMISSIVE" },
  {
    name: "the oldest of a scope wins (PA-2)",
    policies: [
      ["shop/a", "STRICT", { created: 2 }],
      ["shop/b", "DISABLE", { created: 1 }],
    ],
    expect: "DISABLE",
  },
  {
    name: "equal age falls to the name (PA-2)",
    policies: [
      ["shop/b", "DISABLE"],
      ["shop/a", "STRICT"],
    ],
    expect: "STRICT",
  },
  {
    name: "a selector in the root namespace is ignored (PA-3)",
    policies: [["istio-system/cart", "STRICT", { app: "cart" }]],
    expect: "PERMISSIVE",
  },
  {
    name: "it is ignored for workloads of the root namespace too (PA-3)",
    policies: [["istio-system/gate", "STRICT", { app: "gate" }]],
    expect: "PERMISSIVE",
    workload: "istio-system/gate",
  },
  {
    name: "a port has its own mode",
    policies: [["shop/cart", "STRICT", { app: "cart", ports: { 8080: "DISABLE" } }]],
    expect: "DISABLE",
    port: 8080,
  },
  {
    name: "another port has the workload's mode",
    policies: [["shop/cart", "STRICT", { app: "cart", ports: { 8080: "DISABLE" } }]],
    expect: "STRICT",
    port: 8081,
  },
  {
    name: "an UNSET port inherits the workload's mode (PA-3)",
    policies: [["shop/cart", "STRICT", { app: "cart", ports: { 8080: "UNSET" } }]],
    expect: "STRICT",
    port: 8080,
  },
  {
    name: "an UNSET port of an UNSET workload inherits the mesh's mode",
    policies: [
      ["istio-system/default", "STRICT"],
      ["shop/cart", "UNSET", { app: "cart", ports: { 8080: "UNSET" } }],
    ],
    expect: "STRICT",
    port: 8080,
  },
  {
    name: "port modes of two policies are not merged (PA-4)",
    policies: [
      ["shop/a", "STRICT", { app: "cart" }],
      ["shop/b", "STRICT", { app: "cart", ports: { 8080: "DISABLE" } }],
    ],
    expect: "STRICT",
    port: 8080,
  },
  {
    name: "an invalid policy is closed",
    policies: [
      ["istio-system/default", "PERMISSIVE"],
      ["shop/default", "invalid"],
    ],
    expect: "STRICT",
  },
  {
    name: "an invalid policy's ports are closed too",
    policies: [["shop/cart", "invalid", { app: "cart", ports: { 8080: "DISABLE" } }]],
    expect: "STRICT",
    port: 8080,
  },
];

describe("effectiveMtls", () => {
  for (const { name, policies, expect, workload = "shop/cart", port = 80 } of CASES) {
    it(name, () => {
      const snapshot = snapshotOf([workloadEntry(workload), ...policies.map(peerAuthentication)]);
      const subject = snapshot.workloads.get(workload);
      assert.ok(subject);
      assert.equal(effectiveMtls(snapshot, subject, port), expect);
    });
  }
});
