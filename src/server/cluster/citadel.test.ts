import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { FakeKubernetesApi } from "../../../test/fakes/fake-kubernetes-api.ts";
import { ManualClock } from "../../../test/fakes/manual-clock.ts";
import { until } from "../../../test/fakes/processes.ts";
import { RecordingLogger } from "../../../test/fakes/recording-logger.ts";
import { openAuthority } from "../../ca/authority.ts";
import { revoke } from "../../ca/revoke.ts";
import { silentLogger } from "../../core/logger.ts";
import { parseTrustDomain } from "../../identity/trust-domain.ts";
import type { ApiAnswer, ApiMethod } from "../../sources/kubernetes/api.ts";
import { parseCertificates } from "../../x509/certificate.ts";
import { Citadel } from "./citadel.ts";

const HOUR = 3_600_000;

interface Stored {
  readonly type: string;
  readonly metadata: Readonly<Record<string, unknown>> & {
    readonly name: string;
    readonly namespace: string;
    readonly resourceVersion: string;
  };
  readonly data: Readonly<Record<string, string>>;
}

/** An API server that keeps Secrets. */
class Secrets {
  readonly api = new FakeKubernetesApi();
  readonly kept = new Map<string, Stored>();
  readonly writes: string[] = [];
  refuse: (write: string) => number | undefined = () => undefined;
  #version = 1;

  constructor() {
    this.api.answer = (path, method, body) => this.#answer(path, method ?? "GET", body);
  }

  get names(): readonly string[] {
    return [...this.kept.keys()].sort();
  }

  file(key: string, name: string): string {
    return Buffer.from(this.kept.get(key)?.data[name] ?? "", "base64").toString();
  }

  put(
    object: Omit<Stored, "metadata"> & {
      readonly metadata: Readonly<Record<string, unknown>> & { readonly name: string; readonly namespace: string };
    },
  ): void {
    const stored = { ...object, metadata: { uid: `uid-${++this.#version}`, ...object.metadata, resourceVersion: `${++this.#version}` } };
    this.kept.set(`${stored.metadata.namespace}/${stored.metadata.name}`, stored);
    this.#tell("MODIFIED", stored);
  }

  remove(key: string): void {
    const stored = this.kept.get(key);
    this.kept.delete(key);
    if (stored !== undefined) this.#tell("DELETED", { ...stored, metadata: { ...stored.metadata, resourceVersion: `${++this.#version}` } });
  }

  #tell(type: string, object: Stored): void {
    for (const watch of this.api.watches) watch.send({ type, object });
  }

  #answer(path: string, method: ApiMethod, body: unknown): ApiAnswer {
    if (method === "GET")
      return { status: 200, body: { metadata: { resourceVersion: `${this.#version}` }, items: [...this.kept.values()] } };
    const [, namespace = "", name = ""] = /namespaces\/([^/]+)\/secrets\/?([^?]*)/.exec(path) ?? [];
    const given = body as Stored;
    const key = `${namespace}/${name === "" ? given.metadata.name : name}`;
    const status = this.refuse(`${method} ${key}`);
    if (status !== undefined) return { status, body: {} };
    const isDryRun = path.endsWith("?dryRun=All");
    if (!isDryRun) this.writes.push(`${method} ${key}`);
    const before = this.kept.get(key);
    if (method === "POST" && before !== undefined) return { status: 409, body: {} };
    if (isDryRun) return { status: 201, body: {} };
    if (method === "DELETE") this.remove(key);
    else this.put({ ...before, ...given, metadata: { ...before?.metadata, ...given.metadata }, data: { ...before?.data, ...given.data } });
    return { status: method === "POST" ? 201 : 200, body: {} };
  }
}

function setUp(t: TestContext, names: readonly string[] = ["pay"]) {
  const folder = mkdtempSync(join(tmpdir(), "citadel-"));
  const clock = new ManualClock(Date.UTC(2026, 10, 22));
  const logger = new RecordingLogger();
  const authority = openAuthority({ stateFolder: folder, trustDomain: parseTrustDomain("cluster.local"), clock, logger: silentLogger });
  const accounts = names.map((name) => ({ namespace: "shop", name, uid: `of-${name}` }));
  const secrets = new Secrets();
  const lease = { held: true };
  /** How much had been written when each round began. */
  const rounds: number[] = [];
  const start = () =>
    new Citadel({
      api: secrets.api,
      source: {
        accounts: () => {
          rounds.push(secrets.writes.length);
          return accounts;
        },
      },
      authority,
      namespaces: ["*"],
      never: new Set(["spiffe://cluster.local/ns/shop/sa/never"]),
      mayWrite: () => lease.held,
      clock,
      logger,
      intervalMs: 5,
      lookMs: 20,
    });
  const citadel = start();
  t.after(async () => {
    await citadel.close();
    authority.close();
    rmSync(folder, { recursive: true });
  });
  citadel.refresh();
  const serial = (name = "pay"): string => {
    const text = secrets.file(`shop/istio.${name}`, "cert-chain.pem");
    return text === "" ? "" : (parseCertificates(text)[0]?.serial ?? "");
  };
  const issued = () => logger.lines.filter(({ message }) => message === "certificate issued").length;
  const written = (count: number) => logger.line("the Secrets of service accounts are written", count);
  return { clock, logger, authority, accounts, secrets, lease, citadel, start, serial, issued, written, rounds };
}

test("a Secret is made for each account but those that may have none, and is rewritten at about half of its life, not before", async (t) => {
  const { clock, secrets, serial, written, issued } = setUp(t, ["pay", "never"]);
  await written(1);
  assert.deepEqual(secrets.names, ["shop/istio.pay"]);
  const [first, key] = [serial(), secrets.file("shop/istio.pay", "key.pem")];
  await clock.advance(10.7 * HOUR);
  secrets.put({ type: "istio.io/key-and-cert", metadata: { name: "unrelated", namespace: "shop" }, data: {} });
  assert.equal(issued(), 1);
  await clock.advance(2.6 * HOUR);
  await written(2);
  assert.notEqual(serial(), first);
  assert.notEqual(secrets.file("shop/istio.pay", "key.pem"), key);
  assert.deepEqual(secrets.writes, ["POST shop/istio.pay", "PATCH shop/istio.pay"]);
});

test("a rotation of the authority reaches the roots first, then, when the old one is tainted, the certificates", async (t) => {
  const { authority, secrets, serial, written, citadel } = setUp(t);
  authority.onChange(() => citadel.refresh());
  await written(1);
  const [first, own] = [serial(), authority.own];
  assert.ok(own !== undefined);
  const [old] = own.authorities;
  assert.ok(old !== undefined);
  const next = own.prepare();
  await written(2);
  assert.equal(secrets.file("shop/istio.pay", "root-cert.pem"), authority.rootsPem);
  assert.equal(serial(), first);
  own.activate(next);
  own.taint(old);
  await written(3);
  assert.notEqual(serial(), first);
  own.revoke(old);
  await written(4);
  assert.equal(secrets.file("shop/istio.pay", "root-cert.pem"), authority.rootsPem);
  const [leaf] = parseCertificates(secrets.file("shop/istio.pay", "cert-chain.pem"));
  assert.equal(leaf?.authorityKeyId, next.id);
});

test("a key that is another's, a revoked certificate, a lost owner and an immutable Secret are put right", async (t) => {
  const { authority, clock, secrets, serial, written, citadel } = setUp(t, ["pay", "web"]);
  await written(1);
  const pay = secrets.kept.get("shop/istio.pay");
  const web = secrets.kept.get("shop/istio.web");
  assert.ok(pay !== undefined && web !== undefined);
  secrets.put({ ...pay, data: { ...pay.data, "key.pem": web.data["key.pem"] ?? "" } });
  await written(2);
  assert.notEqual(secrets.file("shop/istio.pay", "key.pem"), secrets.file("shop/istio.web", "key.pem"));
  const revoked = serial();
  authority.revocations.onChange(() => citadel.refresh());
  revoke(authority, { kind: "serial", value: revoked, reason: "keyCompromise" }, clock.now());
  await written(3);
  assert.notEqual(serial(), revoked);
  for (const spoiled of [{ metadata: { ...web.metadata, ownerReferences: [] } }, { immutable: true }]) {
    const done = secrets.writes.length;
    secrets.put({ ...web, ...spoiled });
    await until("it is made anew", () => secrets.writes.length >= done + 2);
    assert.deepEqual(secrets.writes.slice(done), ["DELETE shop/istio.web", "POST shop/istio.web"]);
  }
});

test("Secrets that were not made here are never written, whatever their type, and nothing is issued for them", async (t) => {
  const { secrets, accounts, logger, clock, issued } = setUp(t, []);
  const cannot = (count: number) => logger.line("the Secret of a service account cannot be written", count);
  secrets.put({ type: "istio.io/key-and-cert", metadata: { name: "istio.pay", namespace: "shop" }, data: {} });
  secrets.refuse = (write) => (write === "POST shop/istio.web" ? 409 : undefined);
  accounts.push({ namespace: "shop", name: "pay", uid: "a" }, { namespace: "shop", name: "web", uid: "b" });
  await cannot(1);
  await clock.advance(HOUR);
  await cannot(4);
  assert.deepEqual(
    logger.lines.filter(({ level }) => level === "warn").map(({ fields }) => fields.secret),
    ["shop/istio.pay", "shop/istio.web"],
  );
  assert.deepEqual([secrets.writes, issued()], [[], 0]);
});

test("an account that goes takes its Secret along, and one that is refused holds up no other", async (t) => {
  const { secrets, accounts, written, logger } = setUp(t, ["pay", "web"]);
  secrets.refuse = (write) => (write === "POST shop/istio.pay" ? 403 : undefined);
  await written(1);
  assert.deepEqual(secrets.names, ["shop/istio.web"]);
  assert.equal(logger.lines.filter(({ level }) => level === "warn").length, 1);
  accounts.splice(0);
  await until("it is gone", () => secrets.names.length === 0);
});

test("an API server that cannot answer is left in peace, and nothing is lost by it", async (t) => {
  const { secrets, logger, written } = setUp(t, ["a", "b", "c"]);
  let asked = 0;
  secrets.refuse = (write) => (write.startsWith("POST") && ++asked <= 2 ? 503 : undefined);
  await logger.line("writing the Secrets of service accounts failed, and is tried again");
  assert.equal(asked, 1);
  await written(1);
  assert.deepEqual(secrets.names, ["shop/istio.a", "shop/istio.b", "shop/istio.c"]);
});

test("no more than 20 are written in a round", async (t) => {
  const { secrets, written, rounds } = setUp(
    t,
    Array.from({ length: 45 }, (_, index) => `account-${index}`),
  );
  await written(1);
  assert.equal(secrets.kept.size, 45);
  assert.deepEqual([...new Set(rounds)], [0, 20, 40, 45]);
});

test("a replica that may not write reads no key; the next one goes on where it ended, and rewrites nothing", async (t) => {
  const names = Array.from({ length: 45 }, (_, index) => `account-${index}`);
  const { secrets, lease, citadel, start, written, logger } = setUp(t, names);
  await until("some are written", () => secrets.kept.size >= 20);
  lease.held = false;
  await citadel.close();
  const done = secrets.writes.length;
  assert.ok(done < names.length, `${done} were written`);
  const idle = start();
  idle.refresh();
  const asked = secrets.api.asked.length;
  await idle.close();
  assert.equal(secrets.api.asked.length, asked);
  lease.held = true;
  const next = start();
  t.after(() => next.close());
  next.refresh();
  await written(1);
  assert.equal(logger.lines.filter(({ level }) => level === "warn").length, 0);
  assert.deepEqual([secrets.writes.length, new Set(secrets.writes).size, secrets.kept.size], [45, 45, 45]);
});
