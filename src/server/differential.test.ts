import assert from "node:assert/strict";
import { EventEmitter } from "node:events";
import { describe, it } from "node:test";
import { create, fromBinary } from "@bufbuild/protobuf";
import { BinaryReader } from "@bufbuild/protobuf/wire";
import fc from "fast-check";
import { SETTINGS } from "../../test/fixture/objects.ts";
import { randomObject } from "../../test/fixture/random-mesh.ts";
import { gatewaySecrets } from "../compile/gateway-secrets.ts";
import { silentLogger } from "../core/logger.ts";
import {
  DeltaDiscoveryRequestSchema,
  DeltaDiscoveryResponseSchema,
  DiscoveryRequestSchema,
  DiscoveryResponseSchema,
} from "../gen/envoy/service/discovery/v3/discovery_pb.js";
import { type MeshObject, objectKey } from "../policy/model.ts";
import { ResourceCache } from "../xds/cache.ts";
import { createAdsService } from "../xds/service.ts";
import { CLUSTER, ENDPOINTS, EXTENSION, LISTENER, ROUTE } from "../xds/types.ts";
import { MeshState } from "./mesh-state.ts";
import { formatProxyView, Publisher } from "./publisher.ts";
import { RENDERERS } from "./render.ts";

const SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret";
const WILDCARDS = [CLUSTER, LISTENER];
const NAMED = [ENDPOINTS, ROUTE, EXTENSION, SECRET];

type State = ReadonlyMap<string, ReadonlyMap<string, string>>;

const textOf = (body: Uint8Array): string => Buffer.from(body).toString("base64");

/** Field 1, which is the name in every one of Envoy's resources. */
function nameIn(body: Uint8Array): string {
  const reader = new BinaryReader(body);
  reader.tag();
  return reader.string();
}

/** A proxy on the far side of a stream that takes and answers only when it is told to, and keeps what it was sent as Envoy does. */
abstract class Client {
  readonly writes: { readonly bytes: Buffer; readonly taken: () => void }[] = [];
  readonly call = Object.assign(new EventEmitter(), {
    getPeer: () => "192.0.2.1:1",
    getAuthContext: () => ({}),
    sendMetadata: () => undefined,
    pause: () => undefined,
    resume: () => undefined,
    end: () => undefined,
    write: (bytes: Buffer, taken: () => void) => void this.writes.push({ bytes, taken }),
  });
  readonly answers: (() => void)[] = [];
  readonly held = new Map<string, Map<string, string>>();
  readonly wanted = new Map<string, ReadonlySet<string>>();

  of(typeUrl: string): Map<string, string> {
    const known = this.held.get(typeUrl) ?? new Map<string, string>();
    this.held.set(typeUrl, known);
    return known;
  }

  constructor() {
    this.call.on("error", () => undefined);
  }

  /** Asks for everything of the types that have that. */
  abstract begin(id: string): void;
  abstract receive(bytes: Buffer): void;
  /** From now on these of a type that is asked for by name. */
  abstract want(typeUrl: string, names: ReadonlySet<string>): void;

  take(): boolean {
    const write = this.writes.shift();
    if (write !== undefined) this.receive(write.bytes);
    write?.taken();
    return write !== undefined;
  }

  answer(): boolean {
    const answer = this.answers.shift();
    answer?.();
    return answer !== undefined;
  }
}

class DeltaProxy extends Client {
  /** What it has of an earlier stream. */
  readonly versions = new Map<string, Map<string, string>>();

  begin(id: string): void {
    for (const typeUrl of WILDCARDS) this.#ask({ node: { id }, typeUrl, initialResourceVersions: this.#versionsOf(typeUrl) });
  }

  #ask(request: Parameters<typeof create<typeof DeltaDiscoveryRequestSchema>>[1]): void {
    this.call.emit("data", create(DeltaDiscoveryRequestSchema, request));
  }

  #versionsOf(typeUrl: string): Record<string, string> {
    return Object.fromEntries(this.versions.get(typeUrl) ?? []);
  }

  receive(bytes: Buffer): void {
    const { typeUrl, resources, removedResources, nonce } = fromBinary(DeltaDiscoveryResponseSchema, bytes);
    const versions = this.versions.get(typeUrl) ?? new Map<string, string>();
    this.versions.set(typeUrl, versions);
    for (const { name, version, resource } of resources) {
      this.of(typeUrl).set(name, textOf(resource?.value ?? new Uint8Array()));
      versions.set(name, version);
    }
    for (const name of removedResources) {
      this.of(typeUrl).delete(name);
      versions.delete(name);
    }
    this.answers.push(() => this.#ask({ typeUrl, responseNonce: nonce }));
  }

  want(typeUrl: string, names: ReadonlySet<string>): void {
    const before = this.wanted.get(typeUrl);
    this.wanted.set(typeUrl, names);
    const more = [...names].filter((name) => before?.has(name) !== true);
    const less = [...(before ?? [])].filter((name) => !names.has(name));
    // What it has of an earlier stream and wants no more as well.
    for (const name of [...this.of(typeUrl).keys()].filter((held) => !names.has(held))) {
      this.of(typeUrl).delete(name);
      this.versions.get(typeUrl)?.delete(name);
    }
    const initialResourceVersions = before === undefined ? this.#versionsOf(typeUrl) : {};
    if (more.length + less.length > 0)
      this.#ask({ typeUrl, resourceNamesSubscribe: more, resourceNamesUnsubscribe: less, initialResourceVersions });
  }
}

class SotwProxy extends Client {
  readonly #last = new Map<string, { readonly versionInfo: string; readonly responseNonce: string }>();

  begin(id: string): void {
    for (const typeUrl of WILDCARDS) this.#ask({ node: { id }, typeUrl });
  }

  #ask(request: Parameters<typeof create<typeof DiscoveryRequestSchema>>[1]): void {
    this.call.emit("data", create(DiscoveryRequestSchema, request));
  }

  receive(bytes: Buffer): void {
    const { typeUrl, resources, nonce: responseNonce, versionInfo } = fromBinary(DiscoveryResponseSchema, bytes);
    if (WILDCARDS.includes(typeUrl)) this.of(typeUrl).clear();
    for (const { value } of resources) this.of(typeUrl).set(nameIn(value), textOf(value));
    this.#last.set(typeUrl, { versionInfo, responseNonce });
    this.answers.push(() => this.#ask({ typeUrl, resourceNames: [...(this.wanted.get(typeUrl) ?? [])], versionInfo, responseNonce }));
  }

  want(typeUrl: string, names: ReadonlySet<string>): void {
    const before = this.wanted.get(typeUrl) ?? new Set();
    this.wanted.set(typeUrl, names);
    for (const name of before) if (!names.has(name)) this.of(typeUrl).delete(name);
    if (before.symmetricDifference(names).size > 0) this.#ask({ typeUrl, resourceNames: [...names], ...this.#last.get(typeUrl) });
  }
}

/** What the objects alone come to for a workload, compiled and rendered with nothing that was kept. */
function alone(objects: readonly MeshObject[], workload: string): State {
  const mesh = new MeshState(SETTINGS, silentLogger);
  mesh.apply({ objects: objects.map((object) => structuredCloneOf(object)), diagnostics: [] });
  const policy = mesh.current.policies.get(workload);
  if (policy === undefined) return new Map();
  const rendered = RENDERERS.envoy(structuredClone(policy), gatewaySecrets(mesh.current.snapshot, policy), {});
  return new Map(
    [...rendered].map(([typeUrl, of]) => [typeUrl, new Map([...of.values()].map(({ name, body }) => [name, textOf(body)]))] as const),
  );
}

/** Secrets' texts are objects of a class, and are never changed. */
function structuredCloneOf(object: MeshObject): MeshObject {
  return object.kind === "Secret" ? object : structuredClone(object);
}

const PROXIES = [
  { workload: "a/x", make: () => new DeltaProxy() },
  { workload: "a/x", make: () => new SotwProxy() },
  { workload: "b/y", make: () => new DeltaProxy() },
  { workload: "b/x", make: () => new SotwProxy() },
  { workload: "istio-system/z", make: () => new DeltaProxy() },
];

/** A control plane whose slices are of one view each, with all its caches, and proxies of both variants. */
class Plane {
  readonly #mesh = new MeshState(SETTINGS, silentLogger);
  readonly #cache = new ResourceCache();
  readonly #slices: (() => void)[] = [];
  readonly ads;
  readonly proxies: Client[] = [];
  #objects: readonly MeshObject[] = [];
  #ticks = 0;

  constructor() {
    const slices = { ms: 1, now: () => this.#ticks++, next: (resume: () => void) => void this.#slices.push(resume) };
    const publisher = new Publisher(this.#cache, RENDERERS, this.#mesh.current, silentLogger, slices);
    this.#mesh.onChange((view) => publisher.publish(view));
    this.ads = createAdsService({
      cache: this.#cache,
      logger: silentLogger,
      admit: (_, node) => ({ key: node.id }),
      connected: (key) => publisher.connected(key),
      disconnected: (key) => publisher.disconnected(key),
    });
  }

  keyOf(at: number): string {
    return formatProxyView({ workload: PROXIES[at]?.workload ?? "", kind: "envoy" });
  }

  /** A delta client says what it still has. */
  async connect(at: number): Promise<void> {
    const before = this.proxies[at];
    before?.call.emit("cancelled");
    const proxy = PROXIES[at]?.make() ?? assert.fail();
    if (before instanceof DeltaProxy && proxy instanceof DeltaProxy) {
      for (const [typeUrl, versions] of before.versions) proxy.versions.set(typeUrl, new Map(versions));
      for (const [typeUrl, held] of before.held) proxy.held.set(typeUrl, new Map(held));
    }
    const { DeltaAggregatedResources: delta, StreamAggregatedResources: sotw } = this.ads.implementation as Record<
      string,
      (call: unknown) => void
    >;
    (proxy instanceof DeltaProxy ? delta : sotw)?.(proxy.call);
    proxy.begin(this.keyOf(at));
    await new Promise(setImmediate);
    this.proxies[at] = proxy;
  }

  put(object: MeshObject): void {
    this.#apply([...this.#objects.filter((one) => objectKey(one) !== objectKey(object)), object]);
  }

  remove(at: number): void {
    this.#apply(this.#objects.filter((_, index) => index !== at % this.#objects.length));
  }

  #apply(objects: readonly MeshObject[]): void {
    this.#objects = objects;
    this.#mesh.apply({ objects, diagnostics: [] });
  }

  slice(): boolean {
    const resume = this.#slices.shift();
    resume?.();
    return resume !== undefined;
  }

  #drain(): void {
    for (let busy = true; busy; ) {
      busy = this.slice();
      for (const proxy of this.proxies) busy = proxy.take() || proxy.answer() || busy;
    }
  }

  /** Everybody has what the newest objects alone come to, and nothing else. */
  settle(): void {
    this.#drain();
    for (const [at, proxy] of this.proxies.entries()) {
      const expected = alone(this.#objects, PROXIES[at]?.workload ?? "");
      for (const typeUrl of NAMED) proxy.want(typeUrl, new Set(expected.get(typeUrl)?.keys() ?? []));
      this.#drain();
      for (const typeUrl of [...WILDCARDS, ...NAMED]) {
        const sorted = (of: ReadonlyMap<string, string> | undefined) => Object.fromEntries([...(of ?? [])].sort());
        assert.deepEqual(sorted(proxy.of(typeUrl)), sorted(expected.get(typeUrl)), `${this.keyOf(at)} ${typeUrl}`);
      }
    }
    for (const at of this.proxies.keys()) assert.equal(this.ads.ackState(this.keyOf(at)), "acked", this.keyOf(at));
  }
}

const proxyAt = fc.nat(PROXIES.length - 1);
const step = fc.oneof(
  { weight: 8, arbitrary: fc.record({ kind: fc.constant("put" as const), object: randomObject }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("remove" as const), at: fc.nat() }) },
  {
    weight: 4,
    arbitrary: fc.oneof(fc.record({ kind: fc.constant("slice" as const) }), fc.record({ kind: fc.constant("settle" as const) })),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("reconnect" as const), at: proxyAt }) },
  { weight: 8, arbitrary: fc.record({ kind: fc.constantFrom("take" as const, "answer" as const), at: proxyAt }) },
);

/** Cut short by time alone, on a machine that is busy with others. */
const BOUNDS = { numRuns: 40, interruptAfterTimeLimit: 20_000, markInterruptAsFailure: false };

describe("proxies after any edits, pushed in any slices, taken at any pace", () => {
  for (const seed of [1, 20_261_123, 7_919]) {
    it(`have what the newest objects alone come to, by delta and by state of the world (seed ${seed})`, async () => {
      await fc.assert(
        fc.asyncProperty(
          fc.array(randomObject, { maxLength: 25, size: "max" }),
          fc.array(step, { maxLength: 60, size: "max" }),
          async (objects, steps) => {
            const plane = new Plane();
            for (const object of objects) plane.put(object);
            for (const at of PROXIES.keys()) await plane.connect(at);
            for (const one of steps) {
              if (one.kind === "put") plane.put(one.object);
              else if (one.kind === "remove") plane.remove(one.at);
              else if (one.kind === "slice") plane.slice();
              else if (one.kind === "settle") plane.settle();
              else if (one.kind === "reconnect") await plane.connect(one.at);
              else if (one.kind === "take") plane.proxies[one.at]?.take();
              else plane.proxies[one.at]?.answer();
            }
            plane.settle();
            plane.ads.close();
          },
        ),
        { ...BOUNDS, seed },
      );
    });
  }
});
