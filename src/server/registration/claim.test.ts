import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { meshObjects } from "../../../test/fixture/yaml-mesh.ts";
import { AppError } from "../../core/error.ts";
import { admitMember, type Claim } from "./claim.ts";

const WEB = "spiffe://cluster.local/ns/shop/sa/web";

function group(annotations: string): string {
  return `apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: { name: web, namespace: shop, annotations: { ${annotations} } }
spec: { template: { serviceAccount: web } }
`;
}

const REST = `---
apiVersion: v1
kind: ServiceAccount
metadata: { name: web, namespace: shop }
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: db, namespace: shop }
spec: { address: 10.0.0.9, serviceAccount: db }
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: web-10.0.0.8, namespace: shop }
spec: { address: 10.0.0.88, serviceAccount: web }
---
apiVersion: v1
kind: Service
metadata: { name: db, namespace: shop }
spec: { clusterIP: 10.96.0.1, selector: { app: db }, ports: [{ name: tcp, port: 1 }] }
---
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: { name: out, namespace: shop }
spec:
  hosts: [out.example.org]
  addresses: [10.97.0.1]
  resolution: STATIC
  ports: [{ number: 1, name: tcp, protocol: TCP }]
  endpoints: [{ address: "2001:db8:0:0::7" }]
`;

function ask(claim: Partial<Claim>, annotations = "", more = ""): string {
  const address = claim.address ?? "10.0.0.1";
  const peer = claim.peer ?? (address.includes(":") ? `[${address}]:4711` : `${address}:4711`);
  try {
    const { member } = admitMember(meshObjects(group(annotations) + REST + more), {
      identity: WEB,
      group: "shop/web",
      ...claim,
      address,
      peer,
    });
    return `${member.workload} at ${member.address}`;
  } catch (thrown) {
    const { code, message } = AppError.from(thrown);
    return `${code}: ${message}`;
  }
}

describe("who may register as a member of a group", () => {
  it("admits the group's own identity by the address of its connection, and names the entry as Istio does", () => {
    assert.equal(ask({}), "shop/web-10.0.0.1 at 10.0.0.1");
    assert.equal(ask({ address: "2001:db8::1" }), "shop/web-2001-db8--1 at 2001:db8::1");
  });

  it("takes an address however it is written for the one that it is", () => {
    assert.equal(ask({ address: "2001:DB8:0:0:0:0:0:1", peer: "[2001:db8::1]:1" }), "shop/web-2001-db8--1 at 2001:db8::1");
    assert.equal(ask({ address: "10.0.0.1", peer: "[::ffff:10.0.0.1]:1" }), "shop/web-10.0.0.1 at 10.0.0.1");
    assert.equal(ask({ address: "::ffff:10.0.0.1", peer: "10.0.0.1:1" }), "shop/web-10.0.0.1 at 10.0.0.1");
  });

  it("refuses every other identity with the answer that it gives for a group that there is none of", () => {
    const other = "spiffe://cluster.local/ns/shop/sa/db";
    assert.equal(ask({ identity: other }), `permission-denied: \`${other}\` is not the identity of a WorkloadGroup \`shop/web\``);
    assert.equal(ask({ group: "shop/none" }), `permission-denied: \`${WEB}\` is not the identity of a WorkloadGroup \`shop/none\``);
    const elsewhere = "spiffe://other.org/ns/shop/sa/web";
    assert.match(ask({ identity: elsewhere }), /^permission-denied: `spiffe:\/\/other.org/);
    const namespace = "spiffe://cluster.local/ns/bank/sa/web";
    assert.match(ask({ identity: namespace }), /^permission-denied/);
  });

  it("refuses an address from which the connection does not come, unless the operator has named it", () => {
    const claim = { address: "192.0.2.5", peer: "10.0.0.1:4711" };
    assert.equal(ask(claim), "permission-denied: the connection comes from `10.0.0.1`, and not from `192.0.2.5`");
    assert.equal(ask(claim, 'garrison.dev/addresses: "198.51.100.0/24, 192.0.2.0/24"'), "shop/web-192.0.2.5 at 192.0.2.5");
    assert.match(ask(claim, "garrison.dev/addresses: 192.0.3.0/24"), /^permission-denied/);
    assert.match(ask({ peer: "unix:/run/x" }), /^permission-denied: the connection comes from `unix:\/run\/x`/);
  });

  it("refuses what is no address of one machine", () => {
    for (const address of ["0.0.0.0", "::", "224.0.0.1", "255.255.255.255", "ff02::1", "web.example.org", ""])
      assert.match(ask({ address }, "garrison.dev/addresses: 0.0.0.0/0"), /^invalid-argument: .* is not the address of a machine/, address);
    for (const address of ["127.0.0.1", "169.254.1.1", "::1", "fe80::1"])
      assert.match(ask({ address }), /^permission-denied: .* is no address by which others reach this machine/, address);
  });

  it("refuses the address of a workload, of a service, and of an endpoint, by whatever spelling", () => {
    assert.equal(ask({ address: "10.0.0.9" }), "already-exists: the address `10.0.0.9` is that of WorkloadEntry shop/db");
    assert.equal(ask({ address: "10.96.0.1" }), "already-exists: the address `10.96.0.1` is that of Service shop/db");
    assert.equal(ask({ address: "10.97.0.1" }), "already-exists: the address `10.97.0.1` is that of ServiceEntry shop/out");
    assert.equal(ask({ address: "2001:db8::7" }), "already-exists: the address `2001:db8::7` is that of ServiceEntry shop/out");
  });

  it("lets nobody write it out of the address that its connection shows, in a namespace that is not its own", () => {
    const entry = (namespace: string) =>
      `---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: { name: mine, namespace: ${namespace} }\nspec: { address: 10.0.0.1, serviceAccount: x }\n`;
    assert.equal(ask({}, "", entry("evil")), "shop/web-10.0.0.1 at 10.0.0.1");
    for (const namespace of ["shop", "istio-system"])
      assert.equal(ask({}, "", entry(namespace)), `already-exists: the address \`10.0.0.1\` is that of WorkloadEntry ${namespace}/mine`);
    const service = entry("evil")
      .replace("WorkloadEntry", "ServiceEntry")
      .replace(/spec: .*/, "spec: { hosts: [a.example], addresses: [10.0.0.1], resolution: DNS, ports: [{ number: 1, name: tcp }] }");
    assert.equal(ask({}, "", service), "shop/web-10.0.0.1 at 10.0.0.1");
    const elsewhere = { address: "10.0.0.1", peer: "10.0.0.77:1" };
    assert.match(ask(elsewhere, "garrison.dev/addresses: 10.0.0.0/24", entry("evil")), /^already-exists/);
  });

  it("refuses the name of an entry that somebody wrote", () => {
    assert.equal(
      ask({ address: "10.0.0.8" }),
      "already-exists: there is a WorkloadEntry `shop/web-10.0.0.8` already that nobody has registered",
    );
  });
});
