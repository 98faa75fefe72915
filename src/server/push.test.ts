import assert from "node:assert/strict";
import { EventEmitter } from "node:events";
import { describe, it } from "node:test";
import { create, fromBinary, type MessageInitShape } from "@bufbuild/protobuf";
import fc from "fast-check";
import type { WorkloadPolicy } from "../compile/workload-policy.ts";
import { silentLogger } from "../core/logger.ts";
import { mapped } from "../core/map-view.ts";
import { DeltaDiscoveryRequestSchema, DeltaDiscoveryResponseSchema } from "../gen/envoy/service/discovery/v3/discovery_pb.js";
import { ResourceCache, resource } from "../xds/cache.ts";
import { createAdsService } from "../xds/service.ts";
import { CLUSTER } from "../xds/types.ts";
import type { MeshView } from "./mesh-state.ts";
import { formatProxyView, Publisher } from "./publisher.ts";

const WORKLOADS = 5;
/** A version of which nothing can be rendered. */
const BROKEN = 3;

const keyOf = (proxy: number): string => formatProxyView({ workload: `shop/${proxy}`, kind: "envoy" });

/** A proxy on the far side of a stream that takes and answers only when it is told to. */
class SlowProxy {
  readonly call = Object.assign(new EventEmitter(), {
    getPeer: () => "192.0.2.1:1",
    getAuthContext: () => ({}),
    sendMetadata: () => undefined,
    pause: () => undefined,
    resume: () => undefined,
    end: () => undefined,
    write: (bytes: Buffer, taken: () => void) => void this.#writes.push({ bytes, taken }),
  });
  readonly #writes: { readonly bytes: Buffer; readonly taken: () => void }[] = [];
  readonly #nonces: string[] = [];
  /** What it runs. */
  readonly holds = new Map<string, string>();

  constructor() {
    this.call.on("error", () => undefined);
  }

  ask(request: MessageInitShape<typeof DeltaDiscoveryRequestSchema>): void {
    this.call.emit("data", create(DeltaDiscoveryRequestSchema, { typeUrl: CLUSTER, ...request }));
  }

  take(): boolean {
    const write = this.#writes.shift();
    if (write === undefined) return false;
    const { resources, removedResources, nonce } = fromBinary(DeltaDiscoveryResponseSchema, write.bytes);
    for (const { name, resource: any } of resources) this.holds.set(name, Buffer.from(any?.value ?? []).toString());
    for (const name of removedResources) this.holds.delete(name);
    this.#nonces.push(nonce);
    write.taken();
    return true;
  }

  answer(): boolean {
    const nonce = this.#nonces.shift();
    if (nonce !== undefined) this.ask({ responseNonce: nonce });
    return nonce !== undefined;
  }
}

interface FakePolicy {
  readonly workload: string;
  readonly own: number;
  readonly shared: number;
}

/** A control plane whose slices are of one view each, and are taken when it is told to. */
class Plane {
  readonly cache = new ResourceCache();
  readonly proxies = new Map<number, SlowProxy>();
  readonly #slices: (() => void)[] = [];
  readonly rendered: string[] = [];
  #policies: ReadonlyMap<string, FakePolicy> = new Map();
  /** What says the same is the same object, as the compiler has it. */
  readonly #known = new Map<string, FakePolicy>();
  readonly #compiled = new Map<string, FakePolicy>();
  #ticks = 0;
  readonly #publisher: Publisher;
  readonly ads;

  constructor() {
    const render = (policy: WorkloadPolicy) => {
      const { workload, own, shared } = policy as unknown as FakePolicy;
      this.rendered.push(workload);
      if (own === BROKEN) throw new Error("cannot");
      const texts = { own: `${workload} ${own}`, shared: String(shared) };
      return new Map([[CLUSTER, new Map(Object.entries(texts).map(([name, text]) => [name, resource(name, Buffer.from(text))]))]]);
    };
    this.#publisher = new Publisher(this.cache, { envoy: render, embedded: render }, this.#view(), silentLogger, {
      ms: 1,
      now: () => this.#ticks++,
      next: (resume) => void this.#slices.push(resume),
      after: (_, resume) => void this.#slices.push(resume),
    });
    this.ads = createAdsService({
      cache: this.cache,
      logger: silentLogger,
      admit: (_, node) => ({ key: node.id }),
      connected: (key) => this.#publisher.connected(key),
      disconnected: (key) => this.#publisher.disconnected(key),
    });
  }

  /** Of a workload, a policy is known once it was asked for, until there is another. */
  #view(): MeshView {
    const policies = mapped(this.#policies, (policy) => {
      this.#compiled.set(policy.workload, policy);
      return policy;
    });
    const knownPolicy = (workload: string): FakePolicy | undefined => {
      const policy = this.#compiled.get(workload);
      return policy === this.#policies.get(workload) ? policy : undefined;
    };
    return { policies, knownPolicy, snapshot: {} } as unknown as MeshView;
  }

  publish(shared: number, owns: ReadonlyMap<number, number>): void {
    const policies = Array.from({ length: WORKLOADS }, (_, proxy): FakePolicy => {
      const before = this.#policies.get(`shop/${proxy}`);
      const own = owns.get(proxy) ?? before?.own ?? 0;
      const policy = { workload: `shop/${proxy}`, own, shared };
      const name = JSON.stringify(policy);
      this.#known.set(name, this.#known.get(name) ?? policy);
      return this.#known.get(name) ?? policy;
    });
    this.#policies = new Map(policies.map((policy) => [policy.workload, policy]));
    this.#publisher.publish(this.#view());
  }

  slice(): boolean {
    const resume = this.#slices.shift();
    resume?.();
    return resume !== undefined;
  }

  async connect(proxy: number): Promise<void> {
    if (!this.proxies.has(proxy)) this.proxies.set(proxy, await this.open(proxy));
  }

  async open(proxy: number): Promise<SlowProxy> {
    const opened = new SlowProxy();
    const { DeltaAggregatedResources: open } = this.ads.implementation as Record<string, (call: unknown) => void>;
    open?.(opened.call);
    opened.ask({ node: { id: keyOf(proxy) } });
    await new Promise(setImmediate);
    return opened;
  }

  disconnect(proxy: number): void {
    this.proxies.get(proxy)?.call.emit("cancelled");
    this.proxies.delete(proxy);
  }

  isBroken(proxy: number): boolean {
    return this.#policies.get(`shop/${proxy}`)?.own === BROKEN;
  }

  /** Who counts as running the newest state runs it, wherever the push stands. */
  assertHonest(): void {
    for (const [proxy, { holds }] of this.proxies) {
      if (this.ads.ackState(keyOf(proxy)) === "acked") assert.deepEqual(Object.fromEntries(holds), this.#expected(proxy));
    }
  }

  #expected(proxy: number): Readonly<Record<string, string>> {
    const policy = this.#policies.get(`shop/${proxy}`);
    return policy === undefined ? {} : { own: `${policy.workload} ${policy.own}`, shared: String(policy.shared) };
  }

  /** Everybody takes and answers all that there is. */
  drain(): void {
    for (let busy = true; busy; ) {
      busy = this.slice();
      for (const proxy of this.proxies.values()) busy = proxy.take() || proxy.answer() || busy;
    }
  }

  assertDone(): void {
    for (const proxy of this.proxies.keys()) {
      assert.equal(this.ads.ackState(keyOf(proxy)), this.isBroken(proxy) ? "pending" : "acked", keyOf(proxy));
    }
    this.assertHonest();
  }
}

const proxy = fc.nat(WORKLOADS - 1);
const step = fc.oneof(
  {
    weight: 3,
    arbitrary: fc.record({ kind: fc.constant("publish" as const), shared: fc.nat(2), owns: fc.array(fc.tuple(proxy, fc.nat(BROKEN))) }),
  },
  { weight: 6, arbitrary: fc.record({ kind: fc.constant("slice" as const) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("connect" as const), proxy }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("disconnect" as const), proxy }) },
  { weight: 6, arbitrary: fc.record({ kind: fc.constantFrom("take" as const, "answer" as const), proxy }) },
);

describe("a push in slices", () => {
  it("counts nobody as having what he was not sent, and leaves nobody at an old state, whatever comes in between", async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { maxLength: 60, size: "max" }), async (steps) => {
        const plane = new Plane();
        for (const one of steps) {
          if (one.kind === "publish") plane.publish(one.shared, new Map(one.owns));
          else if (one.kind === "slice") plane.slice();
          else if (one.kind === "connect") await plane.connect(one.proxy);
          else if (one.kind === "disconnect") plane.disconnect(one.proxy);
          else if (one.kind === "take") plane.proxies.get(one.proxy)?.take();
          else plane.proxies.get(one.proxy)?.answer();
          plane.assertHonest();
        }
        plane.drain();
        plane.assertDone();
        plane.ads.close();
      }),
      { numRuns: 150 },
    );
  });

  async function connected(): Promise<Plane> {
    const plane = new Plane();
    plane.publish(0, new Map());
    for (let each = 0; each < WORKLOADS; each++) await plane.connect(each);
    plane.drain();
    plane.assertDone();
    plane.rendered.length = 0;
    return plane;
  }

  it("waits for acknowledgements of those that it has not come to", async () => {
    const plane = await connected();
    plane.publish(1, new Map());
    const last = keyOf(WORKLOADS - 1);
    const acked = plane.ads.whenAcked(last, 60_000);
    assert.equal(plane.ads.ackState(last), "pending");
    plane.drain();
    assert.equal(await acked, "acked");
    assert.equal(plane.rendered.length, WORKLOADS);
    plane.ads.close();
  });

  it("leaves out what a newer state has undone before its turn, and says that it holds", async () => {
    const plane = await connected();
    plane.publish(
      0,
      new Map([
        [0, 1],
        [1, 1],
      ]),
    );
    const acked = plane.ads.whenAcked(keyOf(1), 60_000);
    assert.equal(plane.ads.ackState(keyOf(1)), "pending");
    plane.publish(0, new Map([[1, 0]]));
    assert.equal(await acked, "acked");
    plane.drain();
    assert.deepEqual(plane.rendered, ["shop/0"]);
    plane.ads.close();
  });

  it("comes to everybody within a few states though a newer one for all arrives before each slice, in ever longer slices", async () => {
    const plane = await connected();
    const slices: number[] = [];
    for (let turn = 1; new Set(plane.rendered).size < WORKLOADS; turn++) {
      plane.publish(turn, new Map());
      plane.slice();
      slices.push(plane.rendered.length);
    }
    assert.ok(slices.length <= 3, slices.join(" "));
    plane.drain();
    plane.assertDone();
    plane.ads.close();
  });

  it("sends who connects in the midst of it the newest state at once", async () => {
    const plane = await connected();
    plane.disconnect(4);
    plane.publish(1, new Map());
    await plane.connect(4);
    const another = await plane.open(3);
    for (const proxy of [plane.proxies.get(4), another]) {
      proxy?.take();
      assert.equal(proxy?.holds.get("shared"), "1");
    }
    another.answer();
    plane.drain();
    plane.assertDone();
    plane.ads.close();
  });
});
