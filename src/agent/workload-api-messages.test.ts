import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import {
  DescribeWorkloadRequestSchema,
  DescribeWorkloadResponseSchema,
  GetJwtBundleResponseSchema,
  IssueJwtSvidRequestSchema,
  IssueJwtSvidResponseSchema,
} from "../gen/garrison/v1/identity_pb.js";
import {
  JWTBundlesResponseSchema,
  JWTSVIDRequestSchema,
  JWTSVIDResponseSchema,
  ValidateJWTSVIDRequestSchema,
  ValidateJWTSVIDResponseSchema,
  X509BundlesResponseSchema,
  X509SVIDResponseSchema,
} from "../gen/spiffe/workload/workload_pb.js";
import { DESCRIBE_WORKLOAD, GET_JWT_BUNDLE, ISSUE_JWT_SVID } from "./identity-messages.ts";
import * as messages from "./workload-api-messages.ts";

const ID = "spiffe://cluster.local/ns/a/sa/b";
const TRUST_DOMAIN = "spiffe://cluster.local";
const bytes = (text: string) => Buffer.from(text);

describe("messages of the Workload API, against the code that is generated from the protocol", () => {
  it("say an X.509-SVID with its key and bundle", () => {
    const federated = new Map([["spiffe://other", bytes("other roots")]]);
    const encoded = messages.encodeX509Svid({
      identity: ID,
      chain: bytes("chain"),
      privateKey: bytes("key"),
      bundle: bytes("roots"),
      federated,
    });
    const expected = {
      federatedBundles: { "spiffe://other": bytes("other roots") },
      svids: [{ spiffeId: ID, x509Svid: bytes("chain"), x509SvidKey: bytes("key"), bundle: bytes("roots") }],
    };
    assert.deepEqual(fromBinary(X509SVIDResponseSchema, encoded), create(X509SVIDResponseSchema, expected));
  });

  it("say bundles by trust domain", () => {
    const both = { [TRUST_DOMAIN]: bytes("{}"), "spiffe://other": bytes("other") };
    const x509 = messages.encodeX509Bundles(new Map(Object.entries(both)));
    assert.deepEqual(fromBinary(X509BundlesResponseSchema, x509).bundles, both);
    const jwt = messages.encodeJwtBundles(
      new Map([
        [TRUST_DOMAIN, "{}"],
        ["spiffe://other", "other"],
      ]),
    );
    assert.deepEqual(fromBinary(JWTBundlesResponseSchema, jwt).bundles, both);
  });

  it("say JWT-SVIDs, and read what is asked of them", () => {
    const [svid] = fromBinary(JWTSVIDResponseSchema, messages.encodeJwtSvid(ID, "a.b.c")).svids;
    assert.deepEqual([svid?.spiffeId, svid?.svid], [ID, "a.b.c"]);
    const asked = toBinary(JWTSVIDRequestSchema, create(JWTSVIDRequestSchema, { audience: ["x", "y"], spiffeId: ID }));
    assert.deepEqual(messages.decodeJwtSvidRequest(asked), { audiences: ["x", "y"], identity: ID });
    const validate = toBinary(ValidateJWTSVIDRequestSchema, create(ValidateJWTSVIDRequestSchema, { audience: "x", svid: "a.b.c" }));
    assert.deepEqual(messages.decodeValidateRequest(validate), { audience: "x", token: "a.b.c" });
  });

  it("say every kind of claim", () => {
    const claims = {
      sub: ID,
      aud: ["x", "y"],
      exp: 1_767_225_600,
      half: 0.5,
      yes: true,
      no: false,
      nothing: null,
      deep: { a: [{}, []] },
      empty: "",
    };
    const { spiffeId, claims: said } = fromBinary(ValidateJWTSVIDResponseSchema, messages.encodeValidated(ID, claims));
    assert.deepEqual([spiffeId, said], [ID, claims]);
  });

  it("are those of the control plane's services as well", () => {
    const ask = ISSUE_JWT_SVID.requestSerialize(["x", "y"]);
    assert.deepEqual(fromBinary(IssueJwtSvidRequestSchema, ask).audiences, ["x", "y"]);
    const issued = create(IssueJwtSvidResponseSchema, { token: "a.b.c", issuedAtMs: 1_767_225_600_000n, expiresAtMs: 1_767_225_900_000n });
    assert.deepEqual(ISSUE_JWT_SVID.responseDeserialize(Buffer.from(toBinary(IssueJwtSvidResponseSchema, issued))), {
      token: "a.b.c",
      issuedAt: 1_767_225_600_000,
      expiresAt: 1_767_225_900_000,
    });
    const keys = toBinary(GetJwtBundleResponseSchema, create(GetJwtBundleResponseSchema, { jwks: "{}" }));
    assert.equal(GET_JWT_BUNDLE.responseDeserialize(Buffer.from(keys)), "{}");
    assert.equal(fromBinary(DescribeWorkloadRequestSchema, DESCRIBE_WORKLOAD.requestSerialize("a/b")).workload, "a/b");
    const egress = [
      { service: "db", host: "127.0.0.1", port: 5432, portName: "tcp" },
      { service: "web", host: "127.0.0.1", port: 80 },
    ];
    const workload = { workload: "a/b", identity: ID, address: "10.0.0.1", egress };
    const described = toBinary(DescribeWorkloadResponseSchema, create(DescribeWorkloadResponseSchema, workload));
    assert.deepEqual(DESCRIBE_WORKLOAD.responseDeserialize(Buffer.from(described)), { ...workload, dnsCapture: false });
  });
});
