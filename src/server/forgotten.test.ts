import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { labels, meta, workloadEntry } from "../../test/fixture/objects.ts";
import { Plane, PROXIES } from "../../test/fixture/plane.ts";
import type { MeshObject } from "../policy/model.ts";

setFlagsFromString("--expose-gc");
const collect = runInNewContext("gc") as () => void;

const STATES = 20;
/** The one in force, the one before it, and what a collector leaves for later. */
const MOST_KEPT = 4;
const PLACE = { file: "mesh.yaml", line: 1, column: 1 };

/** More services than are compared without setting anything up. */
const SERVICES = Array.from(
  { length: 40 },
  (_, at): MeshObject => ({
    kind: "Service",
    meta: meta(`a/s${at}`),
    selector: labels({ app: "x" }),
    ports: [{ name: "http", port: 8000 + at, targetPort: 80, protocol: "http", place: PLACE }],
  }),
);

const SIDECAR: MeshObject = {
  kind: "Sidecar",
  meta: meta("istio-system/default"),
  selector: labels({}),
  ingress: [],
  egress: SERVICES.map((_, at) => ({
    port: { number: 8000 + at, name: "http", protocol: "http" },
    bind: { kind: "address", host: "127.0.0.1" },
    hosts: [{ namespace: "a", host: "*" }],
    place: PLACE,
  })),
};

/** What can change, each for all proxies. */
const EDITS: Readonly<Record<string, (turn: number) => MeshObject>> = {
  "a policy": (turn) => ({
    kind: "AuthorizationPolicy",
    meta: meta("istio-system/all"),
    selector: labels({}),
    action: "DENY",
    rules: [
      { from: [], to: [[{ attribute: "path", argument: "", values: [{ kind: "exact", value: `/${turn}` }], negated: false }]], when: [] },
    ],
  }),
  "the mode of mutual TLS": (turn) => ({
    kind: "PeerAuthentication",
    meta: meta("istio-system/default"),
    selector: labels({}),
    mtls: turn % 2 === 0 ? "STRICT" : "PERMISSIVE",
    portLevelMtls: new Map(),
  }),
  "an endpoint that everybody sees": (turn) => workloadEntry("a/x", { address: `10.0.1.${turn}` }),
};

/** Weakly, all that proxies were served with each state, by proxy and part. */
class Past {
  readonly #seen = new Map<string, WeakRef<object>[]>();

  see(plane: Plane): void {
    for (const [at, { policy, set }] of plane.served.entries()) {
      this.#note(`${at} policy`, policy);
      for (const [typeUrl, resources] of set ?? []) this.#note(`${at} ${typeUrl}`, resources);
    }
  }

  #note(name: string, part: object | undefined): void {
    const seen = this.#seen.get(name) ?? [];
    if (part !== undefined && seen.at(-1)?.deref() !== part) this.#seen.set(name, [...seen, new WeakRef(part)]);
  }

  /** Of how many states the part that changed most was seen. */
  get most(): number {
    return Math.max(...[...this.#seen.values()].map((seen) => seen.length));
  }

  /** How many different ones of each part are still there, where there are more than may be. */
  tooMany(): readonly (readonly [name: string, count: number])[] {
    collect();
    const counts = [...this.#seen].map(([name, seen]) => [name, new Set(seen.flatMap((ref) => ref.deref() ?? [])).size] as const);
    return counts.filter(([, count]) => count > MOST_KEPT);
  }
}

describe("states that are past", () => {
  for (const [what, edit] of Object.entries(EDITS)) {
    it(`are forgotten, however often ${what} changes`, async () => {
      const plane = new Plane();
      const workloads = [...new Set(PROXIES.map(({ workload }) => workload))].map((key) => workloadEntry(key));
      for (const object of [...workloads, ...SERVICES, SIDECAR]) plane.put(object);
      for (const at of PROXIES.keys()) await plane.connect(at);
      plane.settle();
      const past = new Past();
      for (let turn = 1; turn <= STATES; turn++) {
        plane.put(edit(turn));
        plane.drain();
        past.see(plane);
        // What is looked at through a weak reference lives as long as the turn of the event loop.
        await new Promise(setImmediate);
      }
      assert.equal(past.most, STATES);
      assert.deepEqual(past.tooMany(), []);
      plane.close();
    });
  }
});
