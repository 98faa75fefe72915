import assert from "node:assert/strict";
import { test } from "node:test";
import type { ServerUnaryCall } from "@grpc/grpc-js";
import { peerCertificateOf } from "./peer-certificate.ts";

type Context = ReturnType<ServerUnaryCall<unknown, unknown>["getAuthContext"]>;

test("a call's connection is asked for its certificate once, whether it has one or not", () => {
  for (const context of [{ sslPeerCertificate: { subjectaltname: "URI:spiffe://a/b" } }, {}]) {
    let asked = 0;
    const call = {
      getAuthContext: () => {
        asked += 1;
        return context as Context;
      },
    };
    const first = peerCertificateOf(call);
    assert.equal(peerCertificateOf(call), first);
    assert.equal(first, context.sslPeerCertificate);
    assert.equal(asked, 1);
  }
});
