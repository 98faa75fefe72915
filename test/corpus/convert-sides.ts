/** Old and new side of a conversion, and what to ask of both. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import fc from "fast-check";
import { parseAllDocuments } from "yaml";
import { evaluate } from "../../src/analyze/evaluate.ts";
import type { TestRequest } from "../../src/analyze/test-request.ts";
import { compileMesh } from "../../src/compile/compile.ts";
import { convert } from "../../src/convert/convert.ts";
import { withoutLists } from "../../src/convert/lists.ts";
import { severityOf } from "../../src/core/diagnostic.ts";
import { buildSnapshot } from "../../src/mesh/snapshot.ts";
import { decodeObject } from "../../src/policy/decode/decode.ts";
import type { RawNode } from "../../src/policy/decode/raw-node.ts";
import { parseYamlDocuments } from "../../src/sources/yaml-documents.ts";
import { SETTINGS } from "../fixture/objects.ts";
import { decisionEngine } from "./engine.ts";
import { type OldDocument, oldEffect, type Place } from "./old-semantics.ts";

export const FOLDER = join(import.meta.dirname, "convert");
export const MESH = readFileSync(join(FOLDER, "mesh.yaml"), "utf8");

function place(workload: string, address: string, port: number, service: string, servicePort: number, labels: Place["labels"]): Place {
  const isHttp = service !== "db";
  const [namespace = ""] = workload.split("/");
  return {
    workload,
    namespace,
    labels,
    address,
    port,
    isHttp,
    service: { name: service, port: servicePort, portName: isHttp ? "http" : "tcp" },
  };
}

/** Every port of `mesh.yaml`. */
export const PLACES: readonly Place[] = [
  place("shop/web-1", "10.0.0.1", 28080, "web", 80, { app: "web", version: "v1" }),
  place("shop/web-2", "10.0.0.2", 28080, "web", 80, { app: "web", version: "v2" }),
  place("shop/api", "10.0.0.3", 28081, "api", 80, { app: "api" }),
  place("shop/api", "10.0.0.3", 28082, "admin", 81, { app: "api" }),
  place("shop/api", "10.0.0.3", 28084, "debug", 82, { app: "api" }),
  place("shop/db", "10.0.0.4", 29090, "db", 5432, { app: "db" }),
  place("far/cart", "10.0.0.5", 28083, "cart", 80, { app: "cart" }),
];

// === Both sides of a comparison ===

export function documentsOf(text: string): readonly RawNode[] {
  const { documents, diagnostic } = parseYamlDocuments(text, "in.yaml");
  assert.equal(diagnostic, undefined);
  return withoutLists(documents);
}

const MESH_OBJECTS = documentsOf(MESH).map((node) => decodeObject(node).object ?? assert.fail("mesh.yaml does not decode"));

interface Side {
  readonly errors: readonly string[];
  effect(place: Place, request: TestRequest): string;
}

/** The new side: objects that only try (dry run) enforce nothing. */
export function newSide(text: string): Side {
  const { objects, diagnostics } = convert([...documentsOf(MESH), ...documentsOf(text)], SETTINGS);
  const texts = objects.map(({ object }) => JSON.stringify(object));
  const decoded = texts.flatMap((one) => documentsOf(one).map(decodeObject));
  const wrong = decoded.filter(({ valid }) => !valid);
  const { policies } = compileMesh(buildSnapshot(SETTINGS, [...MESH_OBJECTS, ...decoded.flatMap(({ object }) => object ?? [])]));
  return {
    errors: [...diagnostics, ...wrong.flatMap((one) => one.diagnostics)]
      .filter((one) => severityOf(one) === "error")
      .map(({ message }) => message),
    effect: ({ workload, port }, request) => {
      const policy = policies.get(workload);
      assert.ok(policy);
      return evaluate(decisionEngine(policy), policy, { ...request, port }).effect;
    },
  };
}

export function oldDocuments(text: string): readonly OldDocument[] {
  const documents = parseAllDocuments(text).map((document) => document.toJS() as OldDocument & { readonly items?: readonly OldDocument[] });
  return documents.flatMap((document) => document.items ?? [document]);
}

// === Requests ===

const identity = fc.constantFrom(
  undefined,
  "spiffe://cluster.local/ns/far/sa/cart",
  "spiffe://cluster.local/ns/shop/sa/web",
  "spiffe://cluster.local/ns/shop/sa/api",
  "spiffe://cluster.local/ns/bad/sa/cart",
);

const VALUES = ["gold", "golden", "alice", "v1"] as const;
const headers = fc.dictionary(fc.constantFrom("x-tier", "x-user"), fc.constantFrom(...VALUES), { maxKeys: 2 });

export const request: fc.Arbitrary<TestRequest> = fc.record({
  from: identity,
  port: fc.constant(undefined),
  protocol: fc.constant(undefined),
  method: fc.constantFrom("GET", "HEAD", "POST"),
  path: fc.constantFrom("/items", "/items/1", "/items/1/reviews", "/reviews", "/health", "/"),
  host: fc.constantFrom("web.example", "api.example"),
  headers: headers.map((one) => new Map(Object.entries(one).map(([name, value]) => [name, [value]]))),
  sni: fc.constant(undefined),
  sourceIp: fc.constantFrom("10.1.2.3", "10.2.0.1", "192.0.2.7"),
  remoteIp: fc.constant(undefined),
  tokens: fc.constant([]),
});

export function assertAlike(text: string, side: Side, old: readonly OldDocument[], at: Place, one: TestRequest): void {
  const asked = JSON.stringify({ ...one, workload: at.workload, port: at.port, headers: [...one.headers] });
  assert.equal(side.effect(at, one), oldEffect(old, at, one), `${asked}\n${text}`);
}
