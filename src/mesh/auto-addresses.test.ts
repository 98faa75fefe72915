import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { meta, snapshotOf } from "../../test/fixture/objects.ts";
import { parseIpAddress } from "../policy/ip-block.ts";
import type { MeshObject, ServiceEntryObject, ServiceObject } from "../policy/model.ts";
import { autoAddressOf } from "./auto-addresses.ts";
import { meshServices } from "./registry.ts";

const PLACE = { file: "mesh.yaml", line: 1, column: 1 };
const PORTS = [{ name: "tcp", port: 9000, targetPort: 9000, protocol: "tcp", place: PLACE }] as const;

function entry(key: string, more: Partial<ServiceEntryObject> = {}, created = 0): ServiceEntryObject {
  const host = key.split("/")[1] ?? "";
  const endpoints = { kind: "inline", list: [] } as const;
  const spec = { hosts: [`${host}.example`], location: "MESH_EXTERNAL", resolution: "DNS", ports: PORTS, endpoints } as const;
  return { kind: "ServiceEntry", meta: meta(key, { created }), ...spec, subjectAltNames: [], exportTo: [], ...more };
}

function service(key: string, more: Partial<ServiceObject> = {}): ServiceObject {
  return { kind: "Service", meta: meta(key), selector: new Map([["app", "x"]]), ports: PORTS, ...more };
}

/** By host. */
function addressesOf(objects: readonly MeshObject[], family: "ipv4" | "ipv6" = "ipv4"): Readonly<Record<string, string | undefined>> {
  const snapshot = snapshotOf(objects);
  return Object.fromEntries(meshServices(snapshot).map((each) => [each.host, autoAddressOf(snapshot, each, family)]));
}

describe("an address that is given to a service", () => {
  it("is of 240.240.0.0/16 and of 2001:2::/48, and its own", () => {
    const many = Array.from({ length: 3_000 }, (_, index) => entry(`shop/host-${index}`));
    for (const [family, block] of [
      ["ipv4", /^240\.240\.\d+\.([1-9]|\d\d|1\d\d|2[0-4]\d|25[0-4])$/],
      ["ipv6", /^2001:2::f0f0:[0-9a-f]+$/],
    ] as const) {
      const given = Object.values(addressesOf(many, family));
      for (const address of given) assert.match(address ?? "", block);
      assert.ok(given.every((address) => parseIpAddress(address ?? "") !== undefined));
      assert.equal(new Set(given).size, many.length);
    }
  });

  it("is the same whatever else is there, in whatever order it came", () => {
    const many = Array.from({ length: 500 }, (_, index) => entry(`shop/host-${index}`));
    assert.deepEqual(addressesOf(many), addressesOf([...many].reverse()));
    const { "host-7.example": alone } = addressesOf([entry("shop/host-7")]);
    assert.equal(addressesOf([entry("shop/host-7"), entry("other/cart")])["host-7.example"], alone);
  });

  it("stays the elder's where two meet", () => {
    const elders = Array.from({ length: 600 }, (_, index) => entry(`shop/elder-${index}`, {}, 1));
    const before = addressesOf(elders);
    const younger = Array.from({ length: 2_000 }, (_, index) => entry(`a/younger-${index}`, {}, 2));
    const after = addressesOf([...younger, ...elders]);
    for (const [host, address] of Object.entries(before)) assert.equal(after[host], address);
  });

  it("is none that somebody has declared", () => {
    const { "cart.example": first = "" } = addressesOf([entry("shop/cart")]);
    const declared = entry("shop/declared", { addresses: [first] });
    const { "cart.example": second, "declared.example": none } = addressesOf([entry("shop/cart"), declared]);
    assert.notEqual(second, first);
    assert.match(second ?? "", /^240\.240\./);
    assert.equal(none, undefined);
  });

  it("is not given to who has one, wants none, or is its cluster's", () => {
    const given = addressesOf([
      service("shop/plain"),
      service("shop/headless", { headless: true }),
      service("shop/virtual", { addresses: ["10.96.0.1"] }),
      service("shop/cluster", { bySlices: true }),
      entry("shop/block", { addresses: ["10.1.0.0/16"] }),
      {
        ...entry("shop/declined"),
        meta: meta("shop/declined", { labels: new Map([["networking.istio.io/enable-autoallocate-ip", "false"]]) }),
      },
    ]);
    const { "plain.shop.svc.cluster.local": plain, ...others } = given;
    assert.match(plain ?? "", /^240\.240\./);
    assert.deepEqual([...new Set(Object.values(others))], [undefined]);
  });
});
