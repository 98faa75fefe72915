import assert from "node:assert/strict";
import { describe, it } from "node:test";
import fc from "fast-check";
import { labels, meta, SETTINGS, workloadEntry } from "../../test/fixture/objects.ts";
import { randomObject } from "../../test/fixture/random-mesh.ts";
import { ObjectIndex } from "../mesh/object-index.ts";
import {
  buildSnapshot,
  type MeshSettings,
  type MeshSnapshot,
  NOTHING_REVOKED,
  nextSnapshot,
  type SnapshotParts,
} from "../mesh/snapshot.ts";
import type { PublicJwk } from "../policy/jwks.ts";
import type { AuthorizationPolicyObject, MeshObject, ServiceObject, SidecarObject } from "../policy/model.ts";
import { objectKey } from "../policy/model.ts";
import { renderEnvoy } from "../render/envoy/render.ts";
import { type CompiledMesh, compileMesh, MeshCompiler } from "./compile.ts";
import type { JwksLookup } from "./request-authentication.ts";
import type { WorkloadPolicy } from "./workload-policy.ts";

const PLACE = { file: "mesh.yaml", line: 1, column: 1 };
const any = <T>(all: readonly T[]): fc.Arbitrary<T> => fc.constantFrom(...all);

const settings: fc.Arbitrary<MeshSettings> = fc.record({
  trustDomain: fc.constant(SETTINGS.trustDomain),
  rootNamespace: any([SETTINGS.rootNamespace, "b"]),
  clusterDomain: any(["cluster.local", "other"]),
});

/** `put` adds an object or takes the place of its namesake; `reread` makes equal objects anew, as a file of many documents does. */
type Edit =
  | { readonly kind: "put"; readonly object: MeshObject }
  | { readonly kind: "remove"; readonly at: number }
  | { readonly kind: "reread" }
  | { readonly kind: "settings"; readonly settings: MeshSettings }
  | { readonly kind: "keys"; readonly kid: string };

const edit: fc.Arbitrary<Edit> = fc.oneof(
  { weight: 12, arbitrary: fc.record({ kind: fc.constant("put" as const), object: randomObject }) },
  { weight: 4, arbitrary: fc.record({ kind: fc.constant("remove" as const), at: fc.nat() }) },
  { weight: 1, arbitrary: fc.constant<Edit>({ kind: "reread" }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("settings" as const), settings }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant("keys" as const), kid: any(["1", "2"]) }) },
);

class Mesh {
  objects: readonly MeshObject[] = [];
  settings = SETTINGS;
  kid = "1";

  edit(given: Edit): void {
    if (given.kind === "put") this.objects = [...this.objects.filter((one) => objectKey(one) !== objectKey(given.object)), given.object];
    else if (given.kind === "remove") this.objects = this.objects.filter((_, index) => index !== given.at % this.objects.length);
    else if (given.kind === "reread") this.objects = this.objects.map((one) => structuredClone(one));
    else if (given.kind === "settings") this.settings = given.settings;
    else this.kid = given.kid;
  }

  get keysOf(): JwksLookup {
    const { kid } = this;
    return ({ url }) => [{ kty: "EC", kid: `${url} ${kid}` } as unknown as PublicJwk];
  }

  compiledBy(compile: (snapshot: MeshSnapshot, keysOf: JwksLookup) => CompiledMesh, snapshot = buildSnapshot(this.settings, this.objects)) {
    const { policies: asked, statuses, diagnostics, namesOf } = compile(snapshot, this.keysOf);
    const policies = new Map(asked);
    return { policies, statuses, diagnostics, names: new Map([...policies.keys()].map((workload) => [workload, namesOf(workload)])) };
  }
}

const NOBODY_FEDERATED: readonly string[] = [];

/** A compiler that is handed what has changed alone, as a control plane does it. */
class Following {
  readonly #compiler = new MeshCompiler();
  #index = ObjectIndex.of([]);
  #parts: SnapshotParts | undefined;

  compiled(mesh: Mesh): ReturnType<Mesh["compiledBy"]> {
    const { settings: given } = mesh;
    this.#index = this.#index.next(mesh.objects);
    const snapshot = nextSnapshot(given, this.#index, NOTHING_REVOKED, NOBODY_FEDERATED, this.#parts);
    assert.deepEqual(snapshot, buildSnapshot(given, mesh.objects));
    return mesh.compiledBy((next, keysOf) => {
      const compiled = this.#compiler.compile(next, keysOf);
      this.#parts = { given, objects: this.#index, snapshot: compiled.snapshot };
      return compiled;
    }, snapshot);
  }

  /** A state of which workloads cannot be compiled that ask for keys. */
  fail(mesh: Mesh): void {
    const broken = () => {
      throw new Error("no keys");
    };
    const { policies } = this.#compiler.compile(buildSnapshot(mesh.settings, mesh.objects), broken);
    for (const workload of policies.keys()) {
      try {
        policies.get(workload);
      } catch (error) {
        assert.match(String(error), /no keys/);
      }
    }
  }
}

/** A compiler that is asked for some workloads of each state alone, and for any of them after states in which it was not. */
class Choosing {
  readonly #compiler = new MeshCompiler();
  #asked = 0;

  assertSame(mesh: Mesh, alone: ReturnType<Mesh["compiledBy"]>): void {
    const compiled = this.#compiler.compile(buildSnapshot(mesh.settings, mesh.objects), mesh.keysOf);
    for (const [workload, expected] of alone.policies) {
      assert.deepEqual(compiled.knownPolicy(workload) ?? expected, expected);
      this.#asked += 1;
      if (this.#asked % 3 !== 0) continue;
      assert.deepEqual(compiled.policies.get(workload), expected);
      assert.equal(compiled.knownPolicy(workload), compiled.policies.get(workload));
    }
  }
}

/** A copy has no part of which anything was rendered before. `own`: with which the workload was rendered in each state before. */
function assertRenderedAsAnew(policy: WorkloadPolicy, own: object): void {
  const [kept, anew] = [renderEnvoy(policy, own), renderEnvoy(structuredClone(policy))];
  assert.deepEqual([...kept.keys()], [...anew.keys()]);
  for (const [typeUrl, resources] of kept) {
    const bodies = (of: typeof resources | undefined) =>
      [...(of ?? [])].map(([name, { body }]) => [name, Buffer.from(body).toString("base64")]);
    assert.deepEqual(bodies(resources), bodies(anew.get(typeUrl)));
  }
}

describe("compiling one state after another", () => {
  it("gives what compiling and rendering the last state alone gives, after any edits", () => {
    fc.assert(
      fc.property(
        fc.array(randomObject, { maxLength: 25, size: "max" }),
        fc.array(edit, { minLength: 8, maxLength: 20 }),
        (objects, edits) => {
          const mesh = new Mesh();
          const compiler = new MeshCompiler();
          const following = new Following();
          const choosing = new Choosing();
          let last: readonly WorkloadPolicy[] = [];
          const owns = new Map<string, object>();
          const ownOf = ({ workload }: WorkloadPolicy): object => {
            const own = owns.get(workload) ?? {};
            owns.set(workload, own);
            return own;
          };
          for (const one of objects) mesh.edit({ kind: "put", object: one });
          for (const one of edits) {
            const compiled = mesh.compiledBy((snapshot, keysOf) => compiler.compile(snapshot, keysOf));
            const alone = mesh.compiledBy(compileMesh);
            assert.deepEqual(compiled, alone);
            choosing.assertSame(mesh, alone);
            if (one.kind === "keys" || one.kind === "remove") following.fail(mesh);
            assert.deepEqual(following.compiled(mesh), alone);
            assert.deepEqual([...compiled.policies.keys()], [...alone.policies.keys()]);
            last = [...compiled.policies.values()];
            for (const policy of last) renderEnvoy(policy, ownOf(policy));
            mesh.edit(one);
          }
          for (const policy of last) assertRenderedAsAnew(policy, ownOf(policy));
        },
      ),
      { numRuns: 300 },
    );
  });

  function changedBy(before: readonly MeshObject[], after: readonly MeshObject[]): readonly string[] {
    const compiler = new MeshCompiler();
    const first = new Map(compiler.compile(buildSnapshot(SETTINGS, before)).policies);
    const second = compiler.compile(buildSnapshot(SETTINGS, after)).policies;
    return [...second].filter(([name, policy]) => policy !== first.get(name)).map(([name]) => name);
  }

  const policy = (name: string, app: string, path: string): AuthorizationPolicyObject => ({
    kind: "AuthorizationPolicy",
    meta: meta(name),
    selector: labels({ app }),
    action: "ALLOW",
    rules: [{ from: [], to: [[{ attribute: "path", argument: "", values: [{ kind: "exact", value: path }], negated: false }]], when: [] }],
  });
  const serviceOf = (name: string, app: string): ServiceObject => ({
    kind: "Service",
    meta: meta(name),
    selector: labels({ app }),
    ports: [{ name: "main", port: 80, targetPort: 80, protocol: "http", place: PLACE }],
  });
  const client: SidecarObject = {
    kind: "Sidecar",
    meta: meta("a/client"),
    selector: labels({ app: "x" }),
    ingress: [],
    egress: [
      {
        port: { number: 80, name: "out", protocol: "http" },
        bind: { kind: "address", host: "127.0.0.1" },
        hosts: [{ namespace: "b", host: "*" }],
        place: PLACE,
      },
    ],
  };
  const base: readonly MeshObject[] = [
    workloadEntry("a/x"),
    workloadEntry("a/y"),
    workloadEntry("b/x", { address: "10.0.0.9" }),
    serviceOf("b/x", "x"),
    client,
    policy("a/p", "x", "/1"),
  ];

  it("makes no policy anew when nothing has changed, though every object was read again", () => {
    assert.deepEqual(changedBy(base, structuredClone(base)), []);
  });

  it("makes anew only the workload that an edited policy selects", () => {
    assert.deepEqual(changedBy(base, [...base.slice(0, -1), policy("a/p", "x", "/2")]), ["a/x"]);
  });

  it("makes anew the workloads that a policy selects no longer and those that it selects now", () => {
    assert.deepEqual(changedBy(base, [...base.slice(0, -1), policy("a/p", "y", "/1")]), ["a/x", "a/y"]);
  });

  it("makes anew only the clients of a workload that has moved, and itself", () => {
    const moved = base.map((one) => (objectKey(one) === "WorkloadEntry b/x" ? workloadEntry("b/x", { address: "10.0.0.8" }) : one));
    assert.deepEqual(changedBy(base, moved), ["a/x", "b/x"]);
  });

  it("makes nothing anew for a policy of a namespace without workloads", () => {
    assert.deepEqual(changedBy(base, [...base, policy("c/p", "x", "/1")]), []);
  });
});
