import assert from "node:assert/strict";
import { test } from "node:test";
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { TLSPropertiesSchema, TLSProperties_TLSVersion as Version } from "../gen/envoy/data/accesslog/v3/accesslog_pb.js";
import { formatTls } from "./envoy-tls.ts";

/** What Envoy says, and what is kept of it. */
const HANDSHAKES: readonly (readonly [said: MessageInitShape<typeof TLSPropertiesSchema> | undefined, kept: string])[] = [
  [{ tlsVersion: Version.TLSv1_3, tlsCipherSuite: 0x1302 }, "TLSv1.3 TLS_AES_256_GCM_SHA384"],
  [{ tlsVersion: Version.TLSv1_2, tlsCipherSuite: 0xc02b }, "TLSv1.2 TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256"],
  [{ tlsVersion: Version.TLSv1_3, tlsCipherSuite: 0x1399 }, "TLSv1.3 TLS_0x1399"],
  [{ tlsVersion: Version.TLSv1_3 }, ""],
  [{ tlsCipherSuite: 0x1302 }, ""],
  [undefined, ""],
];

test("the group of the key exchange is told where Envoy has one", () => {
  const tls = create(TLSPropertiesSchema, { tlsVersion: Version.TLSv1_3, tlsCipherSuite: 0x1302 });
  assert.equal(formatTls(tls, "X25519MLKEM768"), "TLSv1.3 TLS_AES_256_GCM_SHA384 X25519MLKEM768");
  assert.equal(formatTls(tls, "-"), "TLSv1.3 TLS_AES_256_GCM_SHA384");
  assert.equal(formatTls(undefined, "X25519"), "");
});

for (const [said, kept] of HANDSHAKES) {
  test(`a handshake of ${JSON.stringify(said)} is kept as "${kept}"`, () => {
    assert.equal(formatTls(said === undefined ? undefined : create(TLSPropertiesSchema, said)), kept);
  });
}
