/** `x-garrison-denied-by`: both engines tell a denied client the same rule, only where that is turned on, and nobody else can write it. */
import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { createServer } from "node:http";
import { after, before, describe, test } from "node:test";
import type { WorkloadPolicy } from "../../src/compile/workload-policy.ts";
import { type HttpAuthorizerServer, startHttpAuthorizer } from "../fakes/authorizers.ts";
import { FakeCa } from "../fakes/fake-ca.ts";
import { call, peerAgent } from "../fakes/http-clients.ts";
import { embeddedSide, envoySide, listening, overHttp, ruleFor, type Side, upstream } from "./custom-sides.ts";
import { skipWithoutEnvoy } from "./find-envoy.ts";
import { LOOPBACK } from "./loopback.ts";
import { clause, FRONTEND, inbound, policyOf, ruleWhen } from "./scenario.ts";

const HEADER = "x-garrison-denied-by";
const skip = skipWithoutEnvoy();
const ca = new FakeCa();
const material = ca.material(FRONTEND);
const agent = peerAgent(material);
const revoked = ca.material(FRONTEND);
const revokedAgent = peerAgent(revoked);
/** Says what only proxies may say. */
const application = createServer((_request, response) => response.writeHead(200, { [HEADER]: "photo-ns/forged[0]", "x-other": "1" }).end());
let opa: HttpAuthorizerServer;

interface Serving {
  readonly engine: Side["name"];
  readonly tells: boolean;
  readonly port: number;
  readonly side: Side;
}

const all: Serving[] = [];

const exact = (value: string) => ({ kind: "exact", value }) as const;
const prefix = (value: string) => ({ kind: "prefix", value }) as const;

/** A rule of each kind that denies, chosen by the path. */
function rules(tells: boolean): Partial<WorkloadPolicy> {
  const told = { headersToDownstreamOnDeny: [exact(HEADER)], headersToDownstreamOnAllow: [exact("x-why")] };
  const places = { fromHeaders: [{ name: "authorization", prefix: "Bearer " }], fromParams: [], fromCookies: [] };
  const issuer = { issuer: "https://a.example", audiences: [], keys: [], ...places };
  const outputs = { forwardOriginalToken: false, outputPayloadToHeader: undefined, outputClaimToHeaders: [], spaceDelimitedClaims: [] };
  const digest = new X509Certificate(revoked.chain).fingerprint256.replaceAll(":", "").toLowerCase();
  return {
    ...(tells ? { tellsDenials: true } : {}),
    revoked: [digest],
    authorizers: [overHttp("opa", upstream("opa", opa.port, "http"), told)],
    requestAuthentication: [{ ...issuer, ...outputs, presence: "OPTIONAL" }],
    http: {
      audit: [],
      custom: [ruleFor("opa", 0)],
      deny: [ruleWhen("deny", 3, clause("path", [exact("/denied"), exact("/opa/denied")]))],
      allow: [ruleWhen("allow", 0, clause("path", ["/allowed", "/opa", "/denied"].map(prefix)))],
    },
  };
}

before(async () => {
  if (skip) return;
  opa = await startHttpAuthorizer();
  opa.answer = ({ url }, response) =>
    void response.writeHead(url.endsWith("/no") ? 403 : 200, { [HEADER]: "photo-ns/forged[1]", "x-why": "opa" }).end();
  const endpoint = { kind: "tcp", host: "127.0.0.1", port: await listening(application) } as const;
  for (const start of [envoySide, embeddedSide]) {
    for (const tells of [true, false]) {
      const listener = await inbound({ protocol: "http", mtls: "STRICT", endpoint });
      const side = await start(policyOf({ inbound: [listener], ...rules(tells) }), ca);
      all.push({ engine: side.name, tells, port: listener.port, side });
    }
  }
});

after(async () => {
  await Promise.all(all.map(({ side }) => side.stop()));
  for (const each of [agent, revokedAgent]) each.destroy();
  application.close();
  opa?.close();
});

interface Case {
  readonly name: string;
  readonly path: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly certificate?: "revoked";
  readonly status: number;
  readonly told: string | undefined;
}

const CASES: readonly Case[] = [
  { name: "a DENY rule", path: "/denied", status: 403, told: "photo-ns/deny[3]" },
  { name: "no ALLOW rule", path: "/elsewhere", status: 403, told: "default" },
  { name: "a revoked certificate", path: "/allowed", certificate: "revoked", status: 403, told: "revoked" },
  { name: "a token", path: "/allowed", headers: { authorization: "Bearer a.b.c" }, status: 401, told: "token" },
  { name: "an authorizer, which would say otherwise", path: "/opa/no", status: 403, told: "photo-ns/opa[0]" },
  { name: "a DENY rule after an authorizer", path: "/opa/denied", status: 403, told: "photo-ns/deny[3]" },
  { name: "nobody: the application's word is taken out", path: "/allowed", status: 200, told: undefined },
  { name: "nobody, after an authorizer", path: "/opa/yes", status: 200, told: undefined },
];

async function ask(port: number, { path, headers = {}, certificate }: Case) {
  const peer = certificate === "revoked" ? revokedAgent : agent;
  return call({ host: LOOPBACK, port, agent: peer, path, headers: { host: "photo-backend", ...headers } });
}

describe("where it is turned on, denied by", { skip }, () => {
  for (const one of CASES) {
    for (const engine of ["envoy", "embedded"] as const) {
      test(`${one.name}, in ${engine}`, async () => {
        const { port } = all.find((serving) => serving.engine === engine && serving.tells) ?? assert.fail();
        const { status, headers } = await ask(port, one);
        assert.deepEqual([status, headers[HEADER]], [one.status, one.told]);
      });
    }
  }

  for (const engine of ["envoy", "embedded"] as const) {
    test(`a gRPC client is told too, in ${engine}`, async () => {
      const { port } = all.find((serving) => serving.engine === engine && serving.tells) ?? assert.fail();
      const headers = { host: "photo-backend", "content-type": "application/grpc" };
      const answer = await call({ host: LOOPBACK, port, agent, path: "/denied", method: "POST", headers });
      assert.deepEqual([answer.status, answer.headers["grpc-status"], answer.headers[HEADER]], [200, "7", "photo-ns/deny[3]"]);
    });
  }
});

describe("where it is not turned on", { skip }, () => {
  for (const engine of ["envoy", "embedded"] as const) {
    test(`nobody is told a rule, and the name is the application's own, in ${engine}`, async () => {
      const { port } = all.find((serving) => serving.engine === engine && !serving.tells) ?? assert.fail();
      const denied = CASES.filter(({ path, status }) => status !== 200 && path !== "/opa/no");
      const told = await Promise.all(denied.map(async (one) => (await ask(port, one)).headers[HEADER]));
      assert.deepEqual(
        told,
        denied.map(() => undefined),
      );
      assert.equal((await ask(port, { name: "", path: "/allowed", status: 200, told: undefined })).headers[HEADER], "photo-ns/forged[0]");
    });
  }
});
