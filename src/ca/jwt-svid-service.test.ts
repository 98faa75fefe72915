import assert from "node:assert/strict";
import { describe, type TestContext, test } from "node:test";
import { create } from "@bufbuild/protobuf";
import { type Client, Metadata, status } from "@grpc/grpc-js";
import { startGrpcServer } from "../../test/fixture/grpc-server.ts";
import { systemClock } from "../core/clock.ts";
import { AppError } from "../core/error.ts";
import { silentLogger } from "../core/logger.ts";
import { IssueJwtSvidRequestSchema, JwtSvidAuthority } from "../gen/garrison/v1/identity_pb.js";
import { formatSpiffeId } from "../identity/spiffe-id.ts";
import { methodDefinition, serviceDefinition } from "../rpc/service.ts";
import { parseCertificate, svidIdentity } from "../x509/certificate.ts";
import type { JwtSvidRequest } from "./jwt-svid.ts";
import { type JwtSvidServiceOptions, jwtSvidService } from "./jwt-svid-service.ts";

const IDENTITY = "spiffe://cluster.local/ns/shop/sa/client";
const ISSUE = methodDefinition(JwtSvidAuthority.method.issueJwtSvid);

async function start(t: TestContext, options: Partial<JwtSvidServiceOptions> = {}, identity = IDENTITY) {
  const issued: JwtSvidRequest[] = [];
  const refused: string[] = [];
  const service = jwtSvidService({
    authenticator: {
      name: "client certificate",
      authenticate: async ({ certificate }) =>
        certificate === undefined ? undefined : { identity: svidIdentity(parseCertificate(certificate)), by: "test" },
    },
    knows: () => true,
    issue: (request) => {
      issued.push(request);
      return { token: "a.b.c", id: "1", issuedAt: 1_000, expiresAt: 2_000 };
    },
    jwks: () => "{}",
    recordRefusal: (caller, { code }) => void refused.push(`${caller} ${code}`),
    clock: systemClock,
    logger: silentLogger,
    ...options,
  });
  const server = await startGrpcServer(t, serviceDefinition(JwtSvidAuthority), service, identity);
  return { server, issued, refused };
}

function ask(client: Client, metadata = new Metadata()): Promise<string> {
  const request = create(IssueJwtSvidRequestSchema, { audiences: ["vault"], ttlSeconds: 60 });
  return new Promise((resolve, reject) => {
    client.makeUnaryRequest(ISSUE.path, ISSUE.requestSerialize, ISSUE.responseDeserialize, request, metadata, (error, response) =>
      error === null ? resolve(response?.token ?? "") : reject(error),
    );
  });
}

describe("the service of JWT-SVIDs", () => {
  test("issues for the identity of the certificate, whatever else the caller brings", async (t) => {
    const { server, issued } = await start(t);
    const metadata = new Metadata();
    metadata.set("authorization", "Bearer another");
    assert.equal(await ask(server.client("verified"), metadata), "a.b.c");
    assert.deepEqual(
      issued.map(({ identity, ...rest }) => ({ ...rest, identity: formatSpiffeId(identity) })),
      [{ audiences: ["vault"], ttlSeconds: 60, identity: IDENTITY }],
    );
  });

  test("refuses callers without a certificate of ours, also with a token, and records it", async (t) => {
    const { server, issued, refused } = await start(t);
    const metadata = new Metadata();
    metadata.set("authorization", "Bearer good");
    for (const kind of ["none", "foreign"] as const)
      await assert.rejects(ask(server.client(kind), metadata), { code: status.UNAUTHENTICATED });
    assert.deepEqual([issued, refused], [[], [" unauthenticated", " unauthenticated"]]);
  });

  test("refuses an identity that is no longer known, and the control plane's own", async (t) => {
    const unknown = await start(t, { knows: () => false });
    await assert.rejects(ask(unknown.server.client("verified")), { code: status.PERMISSION_DENIED });
    const own = await start(t, {}, "spiffe://cluster.local/ns/istio-system/sa/garrison");
    await assert.rejects(ask(own.server.client("verified")), { code: status.PERMISSION_DENIED });
    assert.deepEqual([...unknown.issued, ...own.issued], []);
  });

  test("answers a caller that is too fast with the time to come back, and others as ever", async (t) => {
    const { server } = await start(t, { clock: { now: () => 0 } });
    const client = server.client("verified");
    await Promise.all(Array.from({ length: 200 }, () => ask(client)));
    await assert.rejects(ask(client), (error: { code: status; metadata: Metadata }) => {
      assert.deepEqual([error.code, error.metadata.get("grpc-retry-pushback-ms")], [status.RESOURCE_EXHAUSTED, ["1000"]]);
      return true;
    });
  });

  test("tells why a request is refused, and not what went wrong inside", async (t) => {
    let thrown: Error = new AppError("invalid-argument", "no such audience");
    const { server } = await start(t, {
      issue: () => {
        throw thrown;
      },
    });
    await assert.rejects(ask(server.client("verified")), { code: status.INVALID_ARGUMENT, details: "no such audience" });
    thrown = new Error("secret");
    await assert.rejects(ask(server.client("verified")), { code: status.INTERNAL, details: "internal error" });
  });
});
