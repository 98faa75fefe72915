import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { labels, meta, SETTINGS, workloadEntry } from "../../test/fixture/objects.ts";
import type { WorkloadPolicy } from "../compile/workload-policy.ts";
import { silentLogger } from "../core/logger.ts";
import type { MeshObject } from "../policy/model.ts";
import { ResourceCache, resource } from "../xds/cache.ts";
import { MeshState } from "./mesh-state.ts";
import { formatProxyView, Publisher } from "./publisher.ts";

const PLACE = { file: "mesh.yaml", line: 1, column: 1 };
const PAY = formatProxyView({ workload: "shop/pay", kind: "envoy" });
const CART = formatProxyView({ workload: "shop/cart", kind: "envoy" });

/** Everybody calls the cart. */
const CALLED: readonly MeshObject[] = [
  {
    kind: "Service",
    meta: meta("shop/cart"),
    selector: labels({ app: "cart" }),
    ports: [{ name: "http", port: 80, targetPort: 80, protocol: "http", place: PLACE }],
  },
  {
    kind: "Sidecar",
    meta: meta("istio-system/default"),
    selector: labels({}),
    ingress: [],
    egress: [
      {
        port: { number: 8000, name: "http", protocol: "http" },
        bind: { kind: "address", host: "127.0.0.1" },
        hosts: [{ namespace: "shop", host: "cart.shop.svc.cluster.local" }],
        place: PLACE,
      },
    ],
  },
];

const DENIED: MeshObject = {
  kind: "AuthorizationPolicy",
  meta: meta("shop/deny"),
  selector: labels({ app: "pay" }),
  action: "DENY",
  rules: [{ from: [], to: [], when: [] }],
};

/** A publisher whose renderer takes a while by a clock of its own, and who is told when a rest is over. */
class Setting {
  readonly cache = new ResourceCache();
  readonly rests: { readonly ms: number; readonly over: () => void }[] = [];
  rendered: string[] = [];
  now = 0;
  readonly #state = new MeshState(SETTINGS, silentLogger);
  readonly publisher: Publisher;

  constructor(renderMs: number) {
    const render = ({ workload, outbound }: WorkloadPolicy) => {
      this.now += renderMs;
      const [endpoint] = outbound.flatMap(({ services }) => services.flatMap(({ endpoints }) => endpoints));
      this.rendered.push(`${workload} calls ${endpoint?.address}`);
      return new Map([["type", new Map([["r", resource("r", Buffer.from(JSON.stringify(outbound)))]])]]);
    };
    this.#apply("10.0.0.1");
    this.publisher = new Publisher(this.cache, { envoy: render, embedded: render }, this.#state.current, silentLogger, {
      ms: Number.POSITIVE_INFINITY,
      now: () => this.now,
      next: () => assert.fail("a slice is all"),
      after: (ms, over) => void this.rests.push({ ms, over }),
    });
    this.#state.onChange((mesh) => this.publisher.publish(mesh));
    for (const key of [CART, PAY]) this.publisher.connected(key);
    this.now += 10_000;
    this.rendered = [];
  }

  #apply(address: string, more: readonly MeshObject[] = []): void {
    const workloads = [workloadEntry("shop/cart", { address }), workloadEntry("shop/pay", { address: "10.0.0.99" })];
    this.#state.apply({ objects: [...CALLED, ...workloads, ...more], diagnostics: [] });
  }

  /** What is rendered when the cart has gone there, and these objects are in force besides. */
  cartAt(address: string, ...more: readonly MeshObject[]): readonly string[] {
    this.rendered = [];
    this.#apply(address, more);
    return this.rendered;
  }

  restOver(): readonly string[] {
    this.rendered = [];
    this.now += this.rests[0]?.ms ?? 0;
    this.rests.shift()?.over();
    return this.rendered;
  }
}

describe("where others are", () => {
  it("is pushed at once, and again when that has rested six times as long as it took", () => {
    const setting = new Setting(10);
    assert.deepEqual(setting.cartAt("10.0.0.2"), ["shop/cart calls 10.0.0.2", "shop/pay calls 10.0.0.2"]);
    setting.now += 5;
    assert.deepEqual(setting.cartAt("10.0.0.3"), ["shop/cart calls 10.0.0.3"]);
    assert.deepEqual(setting.cartAt("10.0.0.4"), ["shop/cart calls 10.0.0.4"]);
    assert.deepEqual(
      setting.rests.map(({ ms }) => ms),
      [60],
    );
    assert.deepEqual(setting.restOver(), ["shop/pay calls 10.0.0.4"]);
    setting.now += 2000;
    assert.deepEqual(setting.cartAt("10.0.0.5"), ["shop/cart calls 10.0.0.5", "shop/pay calls 10.0.0.5"]);
  });

  it("rests for two seconds at most", () => {
    const setting = new Setting(5_000);
    setting.cartAt("10.0.0.2");
    setting.cartAt("10.0.0.3");
    assert.deepEqual(
      setting.rests.map(({ ms }) => ms),
      [2000],
    );
  });

  it("does not wait where it is one's own place, and goes with what is urgent", () => {
    const setting = new Setting(10);
    setting.cartAt("10.0.0.2");
    assert.deepEqual(setting.cartAt("10.0.0.3"), ["shop/cart calls 10.0.0.3"]);
    assert.deepEqual(setting.cartAt("10.0.0.3", DENIED), ["shop/pay calls 10.0.0.3"]);
    assert.deepEqual(setting.restOver(), []);
  });

  it("is not told to who has gone meanwhile, and at once to who comes back", () => {
    const setting = new Setting(10);
    setting.cartAt("10.0.0.2");
    setting.cartAt("10.0.0.3");
    setting.publisher.disconnected(PAY);
    assert.deepEqual(setting.restOver(), []);
    setting.cartAt("10.0.0.4");
    setting.rendered = [];
    setting.publisher.connected(PAY);
    assert.deepEqual(setting.rendered, ["shop/pay calls 10.0.0.4"]);
  });

  it("leaves who rests counting as having what he was pushed", () => {
    const setting = new Setting(10);
    setting.cartAt("10.0.0.2");
    setting.cartAt("10.0.0.3");
    assert.equal(setting.cache.isCurrent(PAY), true);
  });

  it("is not pushed where it is undone during the rest", () => {
    const setting = new Setting(10);
    setting.cartAt("10.0.0.2");
    setting.cartAt("10.0.0.3");
    setting.cartAt("10.0.0.2");
    assert.deepEqual(setting.restOver(), []);
  });
});
