import assert from "node:assert/strict";
import { test } from "node:test";
import { fromBinary } from "@bufbuild/protobuf";
import type { TlsOrigination } from "../../compile/workload-policy.ts";
import type { TransportSocket } from "../../gen/envoy/config/core/v3/base_pb.js";
import { UpstreamTlsContextSchema } from "../../gen/envoy/extensions/transport_sockets/tls/v3/tls_pb.js";
import { originationTls } from "./tls-origination.ts";

/** The rest of it is in test/golden/render; files that Envoy would have to find are here. */
function contextOf(tls: TlsOrigination) {
  const { configType }: TransportSocket = originationTls(tls, "http");
  assert.ok(configType.value);
  const { commonTlsContext } = fromBinary(UpstreamTlsContextSchema, configType.value.value);
  assert.ok(commonTlsContext);
  return commonTlsContext;
}

test("files are named and not read: Envoy reads them on its own machine", () => {
  const { tlsCertificates, validationContextType } = contextOf({
    sni: "a.example.com",
    verify: { names: [{ kind: "dns", value: "a.example.com" }], roots: "/etc/a/ca.pem", crl: "/etc/a/ca.crl" },
    certificate: { clientCertificate: "/etc/a/client.pem", privateKey: "/etc/a/client.key" },
  });
  const [pair] = tlsCertificates;
  assert.deepEqual(
    [pair?.certificateChain?.specifier.value, pair?.privateKey?.specifier.value],
    ["/etc/a/client.pem", "/etc/a/client.key"],
  );
  assert.equal(validationContextType.case, "validationContext");
  const { trustedCa, crl, matchTypedSubjectAltNames } = validationContextType.value;
  assert.deepEqual([trustedCa?.specifier.value, crl?.specifier.value], ["/etc/a/ca.pem", "/etc/a/ca.crl"]);
  assert.equal(matchTypedSubjectAltNames.length, 1);
});

test("a server is left unverified only where that is said", () => {
  assert.equal(contextOf({ sni: "a.example.com", verify: "nothing" }).validationContextType.case, undefined);
  const verified = contextOf({ sni: "a.example.com", verify: { names: [{ kind: "dns", value: "a.example.com" }] } });
  assert.equal(verified.validationContextType.case, "combinedValidationContext");
});
