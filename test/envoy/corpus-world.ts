/** A random workload with its policies and requests, in the form of a corpus file; and smaller ones. */
import fc, { type Arbitrary } from "fast-check";
import { stringify } from "yaml";
import { type CorpusFile, readCases } from "../corpus/load.ts";
import { type Plain, peerAuthentication, policies } from "./corpus-policies.ts";
import { PORTS, requestLike } from "./corpus-requests.ts";
import { ALIASES } from "./corpus-words.ts";

const NAMESPACE = "shop";
export const WORKLOAD = `${NAMESPACE}/all`;
const MOST_REQUESTS = 40;

export interface World {
  readonly policies: readonly Plain[];
  /** Requests of test cases. */
  readonly requests: readonly Plain[];
}

/** One that listens for everything. */
const WORKLOAD_OBJECTS: readonly Plain[] = [
  {
    apiVersion: "networking.istio.io/v1",
    kind: "WorkloadEntry",
    metadata: { name: "all", namespace: NAMESPACE },
    spec: { address: "127.0.0.1", serviceAccount: "all" },
  },
  {
    apiVersion: "networking.istio.io/v1",
    kind: "Sidecar",
    metadata: { name: "all", namespace: NAMESPACE },
    spec: {
      ingress: Object.entries(PORTS).map(([name, number]) => ({
        port: { number, name, protocol: name.toUpperCase() },
        defaultEndpoint: "127.0.0.1:18080",
      })),
    },
  },
];

/** What the mesh says of paths, of proxies in front and of its own name. */
const meshConfig: Arbitrary<Plain> = fc
  .record({
    pathNormalization: fc.record({ normalization: fc.constantFrom("NONE", "BASE", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES") }),
    trustDomainAliases: fc.subarray(ALIASES),
    defaultConfig: fc.record({ gatewayTopology: fc.record({ numTrustedProxies: fc.integer({ min: 0, max: 3 }) }) }),
  })
  .map((mesh) => ({
    apiVersion: "v1",
    kind: "ConfigMap",
    metadata: { name: "istio", namespace: "istio-system" },
    data: { mesh: stringify(mesh) },
  }));

const drawnPolicies = fc.tuple(meshConfig, peerAuthentication(NAMESPACE), policies(NAMESPACE)).map((parts) => parts.flat());

const world: Arbitrary<World> = drawnPolicies.chain((drawn) =>
  fc
    .array(requestLike(drawn), { minLength: MOST_REQUESTS / 2, maxLength: MOST_REQUESTS })
    .map((requests) => ({ policies: drawn, requests })),
);

/** As many as Envoy takes quickly; without bias towards the small, since a batch costs about as much as another. */
export const worlds: Arbitrary<readonly World[]> = fc.noBias(fc.array(world, { minLength: 8, maxLength: 12 }));

/** The text of a corpus file with these cases; what YAML 1.1 would misread is in quotes. */
export function toYaml(drawn: readonly Plain[], tests: readonly Plain[]): string {
  return [...WORKLOAD_OBJECTS, ...drawn, { tests }].map((document) => stringify(document, { lineWidth: 0, version: "1.1" })).join("---\n");
}

/** Read as a corpus file is, so that decoding is a part of what is compared; what is expected does not count here. */
export function readWorld({ policies: drawn, requests }: World): CorpusFile {
  const tests = requests.map((request, index) => ({ name: `case ${index}`, workload: WORKLOAD, request, expect: "refused" }));
  return readCases(toYaml(drawn, tests), "fuzz.yaml");
}

// === Smaller ===

/** A part of these texts is another thing: an address where nobody is, a method that HTTP/1.1 does not know. */
const WHOLE: ReadonlySet<string> = new Set(["sourceIp", "method"]);

/** Every way to leave out one element, one field or one character. */
function* without(node: unknown): Generator<unknown> {
  if (typeof node === "string") {
    for (let at = 0; at < node.length; at++) yield node.slice(0, at) + node.slice(at + 1);
    return;
  }
  if (typeof node !== "object" || node === null) return;
  const entries = Object.entries(node);
  const rebuild = (kept: readonly (readonly [string, unknown])[]): unknown =>
    Array.isArray(node) ? kept.map(([, child]) => child) : Object.fromEntries(kept);
  // Without its port a request would be for none of several.
  for (const [key] of entries) if (key !== "port") yield rebuild(entries.filter(([name]) => name !== key));
  for (const [key, child] of entries)
    for (const smaller of WHOLE.has(key) ? [] : without(child))
      yield rebuild(entries.map(([name, kept]) => [name, name === key ? smaller : kept]));
}

/** Worlds that are smaller by one thing, and that can be read. */
export function smallerWorlds(world: World): readonly World[] {
  return [...without(world)].filter((candidate): candidate is World => {
    try {
      readWorld(candidate as World);
      return true;
    } catch {
      return false;
    }
  });
}
