import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { labels, meta, SETTINGS, workloadEntry } from "../../test/fixture/objects.ts";
import { silentLogger } from "../core/logger.ts";
import type { MeshObject } from "../policy/model.ts";
import { type ChangedTypes, ResourceCache, resource } from "../xds/cache.ts";
import { CLUSTER, ENDPOINTS, EXTENSION, LISTENER } from "../xds/types.ts";
import { MeshState } from "./mesh-state.ts";
import { formatProxyView, type ProxyView, Publisher, type Slices } from "./publisher.ts";
import { RENDERERS } from "./render.ts";

/** As if rendering took no time. */
const AT_ONCE: Slices = {
  ms: 1,
  now: () => 0,
  next: () => assert.fail("there was more to do"),
  after: () => assert.fail("nothing is to wait"),
};
const TYPE = "type.googleapis.com/test";
const CART: ProxyView = { workload: "shop/cart", kind: "envoy" };
const PAY: ProxyView = { workload: "shop/pay", kind: "envoy" };

function denyAll(app: string): MeshObject {
  return {
    kind: "AuthorizationPolicy",
    meta: meta(`shop/deny-${app}`),
    selector: labels({ app }),
    action: "DENY",
    rules: [{ from: [], to: [], when: [] }],
  };
}

const WORKLOADS: readonly MeshObject[] = [workloadEntry("shop/cart"), workloadEntry("shop/pay", { address: "10.0.0.2" })];

const SERVICE: MeshObject = {
  kind: "Service",
  meta: meta("shop/cart"),
  selector: labels({ app: "cart" }),
  ports: [{ name: "http", port: 80, targetPort: 80, protocol: "http", place: { file: "mesh.yaml", line: 1, column: 1 } }],
};

/** A publisher over two workloads that notes which views are rendered and which keys are pushed. */
function setUp() {
  const cache = new ResourceCache();
  const state = new MeshState(SETTINGS, silentLogger);
  state.apply({ objects: WORKLOADS, diagnostics: [] });
  const rendered: string[] = [];
  const render = (kind: string) => (policy: { readonly workload: string }) => {
    rendered.push(`${kind} ${policy.workload}`);
    return new Map([[TYPE, new Map([["r", resource("r", Buffer.from(JSON.stringify(policy)))]])]]);
  };
  const publisher = new Publisher(cache, { envoy: render("envoy"), embedded: render("embedded") }, state.current, silentLogger, AT_ONCE);
  state.onChange((mesh) => publisher.publish(mesh));
  return { cache, state, rendered, publisher };
}

describe("Publisher", () => {
  it("renders a workload only when its proxy connects", () => {
    const { cache, rendered, publisher } = setUp();
    publisher.connected(formatProxyView(CART));
    assert.deepEqual(rendered, ["envoy shop/cart"]);
    assert.deepEqual([cache.has(formatProxyView(CART)), cache.has(formatProxyView(PAY))], [true, false]);
  });

  it("pushes a policy edit only to the workloads that it concerns", () => {
    const { cache, state, rendered, publisher } = setUp();
    publisher.connected(formatProxyView(CART));
    publisher.connected(formatProxyView(PAY));
    const pushed: string[] = [];
    const note =
      ({ workload }: ProxyView) =>
      (types: ChangedTypes) =>
        types === "all" || types.size > 0 ? void pushed.push(workload) : undefined;
    for (const view of [CART, PAY]) cache.watch(formatProxyView(view), note(view));
    rendered.length = 0;
    state.apply({ objects: [...WORKLOADS, denyAll("cart")], diagnostics: [] });
    assert.deepEqual([rendered, pushed], [["envoy shop/cart"], ["shop/cart"]]);
  });

  it("pushes nothing where an edit changes nothing", () => {
    const { state, rendered, publisher } = setUp();
    publisher.connected(formatProxyView(CART));
    rendered.length = 0;
    state.apply({ objects: [...WORKLOADS], diagnostics: [] });
    assert.deepEqual(rendered, []);
  });

  it("pushes of an Envoy's resources the type that has changed; the others stay the same objects", () => {
    const cache = new ResourceCache();
    const state = new MeshState(SETTINGS, silentLogger);
    state.apply({ objects: [...WORKLOADS, SERVICE, denyAll("cart")], diagnostics: [] });
    const publisher = new Publisher(cache, RENDERERS, state.current, silentLogger, AT_ONCE);
    state.onChange((mesh) => publisher.publish(mesh));
    const key = formatProxyView(CART);
    publisher.connected(key);
    const before = new Map(cache.get(key));
    const changed: string[] = [];
    cache.watch(key, (types) => changed.push(...types));
    state.apply({ objects: [...WORKLOADS, SERVICE], diagnostics: [] });
    assert.deepEqual(changed, [EXTENSION]);
    const same = [...(cache.get(key) ?? [])].filter(([typeUrl, resources]) => before.get(typeUrl) === resources);
    assert.deepEqual(
      same.map(([typeUrl]) => typeUrl),
      [CLUSTER, ENDPOINTS, LISTENER],
    );
  });

  it("makes what two proxies have alike once", () => {
    const cache = new ResourceCache();
    const state = new MeshState(SETTINGS, silentLogger);
    const twin = { ...workloadEntry("shop/twin", { address: "10.0.0.3" }), labels: labels({ app: "cart" }) } as MeshObject;
    state.apply({ objects: [...WORKLOADS, twin, SERVICE], diagnostics: [] });
    const publisher = new Publisher(cache, RENDERERS, state.current, silentLogger, AT_ONCE);
    const [one, other] = (["shop/cart", "shop/twin"] as const).map((workload) => {
      const key = formatProxyView({ workload, kind: "envoy" });
      publisher.connected(key);
      return cache.get(key)?.get(CLUSTER)?.get("inbound|80||");
    });
    assert.notEqual(one, undefined);
    assert.equal(one, other);
  });

  it("serves both kinds of proxy of one workload apart", () => {
    const { rendered, publisher } = setUp();
    publisher.connected(formatProxyView(CART));
    publisher.connected(formatProxyView({ workload: "shop/cart", kind: "embedded" }));
    assert.deepEqual(rendered, ["envoy shop/cart", "embedded shop/cart"]);
  });

  it("withdraws everything from the proxy of a workload that is gone", () => {
    const { cache, state, publisher } = setUp();
    publisher.connected(formatProxyView(CART));
    state.apply({ objects: WORKLOADS.slice(1), diagnostics: [] });
    assert.equal(cache.get(formatProxyView(CART))?.size, 0);
  });

  it("leaves a workload that cannot be rendered as it is, and serves the others", () => {
    const cache = new ResourceCache();
    const state = new MeshState(SETTINGS, silentLogger);
    state.apply({ objects: WORKLOADS, diagnostics: [] });
    const render = (policy: { readonly workload: string; readonly http: { readonly deny: readonly unknown[] } }) => {
      if (policy.workload === "shop/cart" && policy.http.deny.length > 0) throw new Error("cannot");
      return new Map([[TYPE, new Map([["r", resource("r", Buffer.from(JSON.stringify(policy)))]])]]);
    };
    const publisher = new Publisher(cache, { envoy: render, embedded: render }, state.current, silentLogger, AT_ONCE);
    for (const view of [CART, PAY]) publisher.connected(formatProxyView(view));
    const before = cache.get(formatProxyView(CART));
    const other = cache.get(formatProxyView(PAY));
    state.apply({ objects: [...WORKLOADS, denyAll("cart"), denyAll("pay")], diagnostics: [] });
    publisher.publish(state.current);
    assert.equal(cache.get(formatProxyView(CART)), before);
    assert.notEqual(cache.get(formatProxyView(PAY)), other);
  });

  it("forgets a view when its last stream closes, and not before", () => {
    const { cache, publisher } = setUp();
    publisher.connected(formatProxyView(CART));
    publisher.connected(formatProxyView(CART));
    publisher.disconnected(formatProxyView(CART));
    assert.equal(cache.has(formatProxyView(CART)), true);
    publisher.disconnected(formatProxyView(CART));
    assert.equal(cache.has(formatProxyView(CART)), false);
  });
});
