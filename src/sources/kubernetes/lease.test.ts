import assert from "node:assert/strict";
import { type TestContext, test } from "node:test";
import { FakeKubernetesApi } from "../../../test/fakes/fake-kubernetes-api.ts";
import { until } from "../../../test/fakes/processes.ts";
import { AppError } from "../../core/error.ts";
import { silentLogger } from "../../core/logger.ts";
import { isPlain } from "./api-objects.ts";
import { Lease } from "./lease.ts";

/** An API server with one Lease, which counts its versions as a real one does. */
class LeaseApi extends FakeKubernetesApi {
  version = 0;
  holder: string | undefined;
  away = false;

  constructor() {
    super();
    this.answer = (_path, method, body) => {
      if (this.away) return new AppError("unavailable", "away");
      if (method === "GET" && this.holder === undefined) return { status: 404, body: {} };
      if (method === "GET")
        return { status: 200, body: { metadata: { resourceVersion: String(this.version) }, spec: { holderIdentity: this.holder } } };
      return this.#write(method, body);
    };
  }

  #write(method: unknown, body: unknown) {
    const { metadata, spec } = isPlain(body) ? body : {};
    const based = isPlain(metadata) ? metadata.resourceVersion : undefined;
    const conflict = method === "POST" ? this.holder !== undefined : based !== String(this.version);
    if (conflict) return { status: 409, body: {} };
    this.holder = isPlain(spec) ? String(spec.holderIdentity) : "";
    this.version += 1;
    return { status: method === "POST" ? 201 : 200, body: {} };
  }
}

/** So that a machine that stalls for a moment loses nothing. */
const LONG = { duration: 60_000, deadline: 40_000, renew: 15, retry: 10 };
const SHORT = { duration: 120, deadline: 80, renew: 15, retry: 10 };

function replica(t: TestContext, api: LeaseApi, holder: string, times = LONG) {
  const changes: boolean[] = [];
  const lease: Lease = new Lease({
    api,
    logger: silentLogger,
    namespace: "n",
    name: "garrison",
    holder,
    onChange: () => void changes.push(lease.held),
    times,
  });
  t.after(() => lease.close());
  return { lease, changes };
}

test("one of two replicas holds it, and keeps it while it renews", async (t) => {
  const api = new LeaseApi();
  const [a, b] = [replica(t, api, "a"), replica(t, api, "b")];
  await until("one has it", () => a.lease.held || b.lease.held);
  const before = api.version;
  await until("it was renewed", () => api.version > before + 15);
  assert.equal(Number(a.lease.held) + Number(b.lease.held), 1);
  assert.equal(a.changes.length + b.changes.length, 1);
});

test("one that ends gives it up at once", async (t) => {
  const api = new LeaseApi();
  const a = replica(t, api, "a");
  await until("the first has it", () => a.lease.held);
  await a.lease.close();
  assert.deepEqual([a.lease.held, api.holder], [false, ""]);
  const b = replica(t, api, "b");
  await until("the other has it", () => b.lease.held);
});

test("one of a replica that is dead is taken after its time, and not before", async (t) => {
  const api = new LeaseApi();
  [api.holder, api.version] = ["dead", 7];
  const began = performance.now();
  const b = replica(t, api, "b", { ...LONG, duration: SHORT.duration });
  await until("it is taken", () => b.lease.held);
  assert.ok(performance.now() - began >= SHORT.duration);
});

test("a holder that cannot renew acts no more before another may, and takes it up again", async (t) => {
  const api = new LeaseApi();
  const a = replica(t, api, "a", SHORT);
  await until("it has it", () => a.lease.held);
  api.away = true;
  await until("it knows that it has it no more", () => a.changes.at(-1) === false);
  assert.equal(a.lease.held, false);
  api.away = false;
  await until("it has it again", () => a.lease.held);
});

test("one that another took is not held, whatever this replica believed", async (t) => {
  const api = new LeaseApi();
  const a = replica(t, api, "a");
  await until("it has it", () => a.lease.held);
  [api.holder, api.version] = ["other", api.version + 1];
  await until("it sees that", () => !a.lease.held);
  assert.equal(api.holder, "other");
});
