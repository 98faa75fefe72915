import assert from "node:assert/strict";
import { test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { layers, workloadPolicy } from "../../test/fakes/proxy-setup.ts";
import { AppError } from "../core/error.ts";
import { ProxyPolicySchema } from "../gen/garrison/v1/proxy_pb.js";
import { parseProxyBootstrap } from "./bootstrap.ts";
import { parsePolicyMessage } from "./policy-message.ts";

const BOOTSTRAP = {
  workload: "a/b",
  node: { id: "sidecar~x", cluster: "b.a", metadata: { NAMESPACE: "a" } },
  controlPlane: { address: "127.0.0.1", port: 15012, identity: "spiffe://cluster.local/ns/istio-system/sa/garrison" },
  sdsSocket: "/run/sds.sock",
  readySocket: "/run/ready.sock",
};

const isInvalid = (error: unknown) => error instanceof AppError && error.code === "invalid-configuration";

test("a bootstrap is what the agent wrote", () => {
  assert.deepEqual(parseProxyBootstrap(JSON.stringify(BOOTSTRAP)), BOOTSTRAP);
});

for (const key of ["workload", "node", "controlPlane", "sdsSocket", "readySocket"] as const) {
  test(`a bootstrap without \`${key}\` is refused by its name`, () => {
    const { [key]: _left, ...rest } = BOOTSTRAP;
    assert.throws(
      () => parseProxyBootstrap(JSON.stringify(rest)),
      (error) => isInvalid(error) && (error as AppError).message.includes(`\`${key}\``),
    );
  });
}

test("a bootstrap of another form is refused", () => {
  for (const text of ["", "[]", "null", '"x"', "{"]) assert.throws(() => parseProxyBootstrap(text), isInvalid, text);
  for (const port of [0, 65_536, 1.5, "15012"]) {
    assert.throws(
      () => parseProxyBootstrap(JSON.stringify({ ...BOOTSTRAP, controlPlane: { ...BOOTSTRAP.controlPlane, port } })),
      isInvalid,
    );
  }
});

function message(policy: unknown): Uint8Array {
  return toBinary(ProxyPolicySchema, create(ProxyPolicySchema, { json: Buffer.from(JSON.stringify(policy)) }));
}

test("a policy is what the control plane compiled", () => {
  const policy = workloadPolicy({ http: layers({ allow: [] }), tcp: layers({ allow: [] }) });
  assert.deepEqual(parsePolicyMessage(message(policy), policy.workload).policy, policy);
});

test("a policy of another workload, or of another form, is refused", () => {
  const policy = workloadPolicy();
  const listener = { name: "x", protocol: "http", mtls: "STRICT" };
  const odd: readonly unknown[] = [
    null,
    [],
    "x",
    {},
    { ...policy, workload: "other/one" },
    { ...policy, inbound: undefined },
    { ...policy, trustDomains: "cluster.local" },
    { ...policy, http: {} },
    { ...policy, inbound: [{ ...listener, mtls: "SOMETIMES" }] },
    { ...policy, inbound: [{ ...listener, protocol: "quic" }] },
    { ...policy, outbound: [{ ...listener, protocol: "quic" }] },
  ];
  for (const one of odd) assert.throws(() => parsePolicyMessage(message(one), policy.workload), isInvalid, JSON.stringify(one));
  assert.throws(() => parsePolicyMessage(Buffer.from([0xff]), policy.workload), isInvalid);
});
