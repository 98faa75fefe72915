import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { Metadata, status } from "@grpc/grpc-js";
import { FakeCa } from "../../test/fakes/fake-ca.ts";
import { ManualClock } from "../../test/fakes/manual-clock.ts";
import { until } from "../../test/fakes/processes.ts";
import { WorkloadApiTestClient } from "../../test/fakes/workload-api-client.ts";
import { issueJwtSvid } from "../ca/jwt-svid.ts";
import { JwtSvidKeys } from "../ca/jwt-svid-keys.ts";
import { JwtSvidRecord } from "../ca/jwt-svid-record.ts";
import { AppError } from "../core/error.ts";
import { silentLogger } from "../core/logger.ts";
import { parseSpiffeId } from "../identity/spiffe-id.ts";
import { DEFAULT_TRUST_DOMAIN } from "../identity/trust-domain.ts";
import { generateKey, spkiOf } from "../x509/csr-builder.ts";
import type { ClientMethod } from "./control-plane-call.ts";
import { GET_JWT_BUNDLE, ISSUE_JWT_SVID } from "./identity-messages.ts";
import { checkIssuedCertificate, type IssuedCertificate } from "./issued-certificate.ts";
import { JwtSvids } from "./jwt-svids.ts";
import { WorkloadApiServer } from "./workload-api-server.ts";
import { openSocketFolder, parseEndpointSocket, type SocketGroup, socketGroup } from "./workload-socket.ts";

const IDENTITY = "spiffe://cluster.local/ns/photo-ns/sa/frontend";
const ca = new FakeCa();

function certificateOf(issuer = ca): IssuedCertificate {
  const privateKey = generateKey();
  const leaf = issuer.sign({ spki: spkiOf(privateKey), identities: [IDENTITY] });
  return checkIssuedCertificate({ elements: [leaf, issuer.rootPem], privateKey, identity: IDENTITY, now: Date.now() });
}

let folder: string;
let clock: ManualClock;
let current: IssuedCertificate | undefined;
let listeners: Set<() => void>;
let keys: JwtSvidKeys;
let record: JwtSvidRecord;
/** What asking the control plane comes to, instead of an answer. */
let away: AppError | undefined;
let asked: string[];
let jwtSvids: JwtSvids;
let server: WorkloadApiServer;
let client: WorkloadApiTestClient;

function issue(audiences: readonly string[]) {
  return issueJwtSvid(
    { trustDomain: DEFAULT_TRUST_DOMAIN, keys, record, clock },
    { identity: parseSpiffeId(IDENTITY), audiences, ttlSeconds: 0 },
  );
}

async function call<Request, Response>(method: ClientMethod<Request, Response>, request: Request): Promise<Response> {
  asked.push(method.path.split("/").at(-1) ?? "");
  if (away !== undefined) throw away;
  const answers: Readonly<Record<string, () => unknown>> = {
    [ISSUE_JWT_SVID.path]: () => issue(request as readonly string[]),
    [GET_JWT_BUNDLE.path]: () => keys.jwks,
  };
  return answers[method.path]?.() as Response;
}

function renew(certificate: IssuedCertificate | undefined): void {
  current = certificate;
  for (const listener of listeners) listener();
}

beforeEach(async () => {
  folder = mkdtempSync(join(tmpdir(), "garrison-wapi-"));
  clock = new ManualClock(Date.now());
  listeners = new Set();
  current = undefined;
  away = undefined;
  asked = [];
  keys = new JwtSvidKeys({ stateFolder: folder, clock });
  record = new JwtSvidRecord(join(folder, "jwt.sqlite"));
  jwtSvids = new JwtSvids({ identity: IDENTITY, call, clock, timers: clock, random: () => 0, logger: silentLogger });
  server = await serve("workload.sock");
  client = new WorkloadApiTestClient(join(folder, "workload.sock"));
});
afterEach(() => {
  client.close();
  server.close();
  jwtSvids.stop();
  record.close();
  rmSync(folder, { recursive: true });
});

function serve(name: string, group?: SocketGroup): Promise<WorkloadApiServer> {
  const subscribe = (listener: () => void) => {
    listeners.add(listener);
    return () => listeners.delete(listener);
  };
  const access = { path: join(folder, name), group };
  return WorkloadApiServer.start({
    identity: IDENTITY,
    certificate: () => current,
    subscribe,
    jwtSvids,
    clock,
    timers: clock,
    access,
    logger: silentLogger,
  });
}

describe("the socket of the Workload API", () => {
  it("is for its own user alone, for a group as well, or for all who reach it", async () => {
    assert.equal(statSync(join(folder, "workload.sock")).mode & 0o777, 0o600);
    const group = process.getegid?.() ?? 0;
    const shared = await serve("group.sock", group);
    const { mode, gid } = statSync(join(folder, "group.sock"));
    shared.close();
    assert.deepEqual([mode & 0o777, gid], [0o660, group]);
    const open = await serve("open.sock", socketGroup("*"));
    const { mode: everybodys } = statSync(join(folder, "open.sock"));
    open.close();
    assert.equal(everybodys & 0o777, 0o666);
    assert.equal(socketGroup("root"), 0);
    assert.throws(() => socketGroup("no-such-group"), { code: "not-found" });
  });

  it("is named as SPIFFE names it, and only where nobody else could put one", () => {
    assert.equal(parseEndpointSocket("unix:///run/x.sock"), "/run/x.sock");
    assert.equal(parseEndpointSocket("unix:/run/x.sock"), "/run/x.sock");
    for (const text of ["tcp://127.0.0.1:8000", "unix://run/x.sock", "x.sock", "unix:///x?y", ""])
      assert.throws(() => parseEndpointSocket(text), { code: "invalid-argument" }, text);
    const open = join(folder, "open");
    mkdirSync(open);
    chmodSync(open, 0o777);
    assert.throws(() => openSocketFolder(join(open, "x.sock")), { code: "unsafe-permissions" });
    assert.throws(() => openSocketFolder(join(folder, "none", "missing", "x.sock")), { code: "not-found" });
    const umask = process.umask(0o077);
    openSocketFolder(join(folder, "made", "x.sock"));
    process.umask(umask);
    assert.equal(statSync(join(folder, "made")).mode & 0o777, 0o755);
    assert.doesNotThrow(() => openSocketFolder(join(folder, "x.sock")));
  });
});

describe("every request to the Workload API", () => {
  it("needs the security header, once and with the value `true`", async () => {
    renew(certificateOf());
    const twice = new Metadata();
    for (const value of ["true", "true"]) twice.add("workload.spiffe.io", value);
    const other = new Metadata();
    other.set("workload.spiffe.io", "TRUE");
    for (const metadata of [new Metadata(), twice, other]) {
      assert.equal((await client.x509Svids(metadata).ended).code, status.INVALID_ARGUMENT);
      await assert.rejects(client.jwtSvid(["vault"], "", metadata), { code: status.INVALID_ARGUMENT });
    }
    assert.deepEqual([server.streams, asked], [0, []]);
  });

  it("is bounded in streams and in rate", async () => {
    renew(certificateOf());
    const streams = Array.from({ length: 128 }, () => client.x509Svids());
    await Promise.all(streams.map((stream) => stream.next()));
    assert.equal((await client.x509Svids().ended).code, status.RESOURCE_EXHAUSTED);
    for (const stream of streams) stream.cancel();
    await until("the streams have ended", () => server.streams === 0);
    await client.x509Svids().next();
    const calls = await Promise.allSettled(Array.from({ length: 400 }, () => client.jwtSvid([])));
    const codes = new Set(calls.map((result) => (result.status === "rejected" ? (result.reason as { code: status }).code : "")));
    assert.deepEqual(codes, new Set([status.INVALID_ARGUMENT, status.RESOURCE_EXHAUSTED]));
  });
});

describe("FetchX509SVID", () => {
  it("brings the key, the chain and the bundle, each in DER, and again with each renewal", async () => {
    const first = certificateOf();
    renew(first);
    const stream = client.x509Svids();
    const [svid] = (await stream.next()).svids;
    assert.equal(svid?.spiffeId, IDENTITY);
    const leaf = new X509Certificate(svid?.x509Svid ?? "");
    assert.equal(leaf.toString(), new X509Certificate(first.chain).toString());
    assert.deepEqual(Buffer.from(svid?.x509SvidKey ?? ""), first.privateKey.export({ type: "pkcs8", format: "der" }));
    assert.ok(leaf.verify(new X509Certificate(svid?.bundle ?? "").publicKey));
    const second = certificateOf();
    renew(second);
    assert.equal(
      new X509Certificate((await stream.next()).svids[0]?.x509Svid ?? "").toString(),
      new X509Certificate(second.chain).toString(),
    );
  });

  it("waits for the first certificate, and says after ten seconds that there is none", async () => {
    const [patient, late] = [client.x509Svids(), client.x509Svids()];
    await until("both streams are open", () => server.streams === 2);
    late.cancel();
    const hopeless = client.x509Bundles();
    await until("they are", () => server.streams === 2);
    renew(certificateOf());
    assert.equal((await patient.next()).svids.length, 1);
    await hopeless.next();
    renew(undefined);
    const third = client.x509Svids();
    await until("it is open", () => server.streams === 3);
    await clock.advance(10_000);
    assert.equal((await third.ended).code, status.UNAVAILABLE);
  });
});

describe("FetchX509Bundles", () => {
  it("brings the roots of the trust domain, and again only when they change", async () => {
    renew(certificateOf());
    const stream = client.x509Bundles();
    assert.deepEqual(Object.keys((await stream.next()).bundles), ["spiffe://cluster.local"]);
    renew(certificateOf());
    const other = new FakeCa("other");
    renew(certificateOf(other));
    const { bundles } = await stream.next();
    assert.deepEqual(Buffer.from(bundles["spiffe://cluster.local"] ?? ""), Buffer.from(other.root.der));
  });
});

describe("JWT-SVIDs of the Workload API", () => {
  it("are for the audience that is asked for, and found to be good for it and for no other", async () => {
    const token = await client.jwtSvid(["vault", "db"], IDENTITY);
    const { spiffeId, claims } = await client.validate("db", token);
    assert.deepEqual([spiffeId, claims?.sub, claims?.aud], [IDENTITY, IDENTITY, ["vault", "db"]]);
    await assert.rejects(client.validate("other", token), { code: status.INVALID_ARGUMENT, details: /another audience/ });
    await assert.rejects(client.validate("", token), { code: status.INVALID_ARGUMENT });
    await assert.rejects(client.validate("db", "x"), { code: status.INVALID_ARGUMENT });
  });

  it("need an audience, and are of no other identity", async () => {
    await assert.rejects(client.jwtSvid([]), { code: status.INVALID_ARGUMENT });
    await assert.rejects(client.jwtSvid([""]), { code: status.INVALID_ARGUMENT });
    await assert.rejects(client.jwtSvid(["vault"], "spiffe://cluster.local/ns/photo-ns/sa/other"), { code: status.PERMISSION_DENIED });
    assert.deepEqual(asked, []);
  });

  it("are handed out again for half of their life, asked for once by many at a time, and used to the end while no other can be had", async () => {
    const [first, ...others] = await Promise.all(Array.from({ length: 5 }, () => client.jwtSvid(["vault"])));
    assert.deepEqual(new Set(others), new Set([first]));
    await clock.advance(149_000);
    assert.equal(await client.jwtSvid(["vault"]), first);
    assert.deepEqual(asked, ["IssueJwtSvid"]);
    await clock.advance(2_000);
    const second = await client.jwtSvid(["vault"]);
    assert.notEqual(second, first);
    away = new AppError("unavailable", "the control plane is away");
    await clock.advance(280_000);
    assert.equal(await client.jwtSvid(["vault"]), second);
    await clock.advance(6_000);
    await assert.rejects(client.jwtSvid(["vault"]), { code: status.UNAVAILABLE });
  });

  it("are checked with kept keys while the control plane is away, and a new key is asked for when one is met", async () => {
    const token = await client.jwtSvid(["vault"]);
    assert.equal((await client.validate("vault", token)).spiffeId, IDENTITY);
    away = new AppError("unavailable", "the control plane is away");
    await clock.advance(200_000);
    assert.equal((await client.validate("vault", token)).spiffeId, IDENTITY);
    away = undefined;
    await clock.advance(31 * 86_400_000);
    assert.equal((await client.validate("vault", issue(["vault"]).token)).spiffeId, IDENTITY);
  });
});

describe("FetchJWTBundles", () => {
  it("brings the keys, and new ones as they come", async () => {
    const stream = client.jwtBundles();
    const keysOf = async (): Promise<number> => {
      const { bundles } = await stream.next();
      const text = Buffer.from(bundles["spiffe://cluster.local"] ?? "").toString();
      return (JSON.parse(text) as { readonly keys: readonly unknown[] }).keys.length;
    };
    assert.equal(await keysOf(), 1);
    await clock.advance(29 * 86_400_000 + 300_000);
    assert.equal(await keysOf(), 2);
  });

  it("comes when the control plane does", async () => {
    away = new AppError("unavailable", "the control plane is away");
    const stream = client.jwtBundles();
    await until("it was asked", () => asked.length > 0);
    away = undefined;
    renew(certificateOf());
    assert.deepEqual(Object.keys((await stream.next()).bundles), ["spiffe://cluster.local"]);
  });
});
