/** The schemas of the chart, in a real API server: they take what decoders take, and refuse no less than Istio's. */
import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { parse, parseAllDocuments } from "yaml";
import { decodeObject } from "../../src/policy/decode/decode.ts";
import { objectTree } from "../../src/sources/kubernetes/object-tree.ts";
import { Place } from "../feature/place.ts";
import { Cluster, type Manifest } from "./cluster.ts";

const CORPUS = join(import.meta.dirname, "..", "corpus", "cases");
const PLACE = { file: "here", line: 0, column: 0 };

/** An element of `refused.yaml`. */
interface Refused {
  readonly says: string;
  readonly object: Manifest;
}

function isSecurity(value: unknown): value is Manifest {
  return typeof value === "object" && value !== null && "apiVersion" in value && String(value.apiVersion).startsWith("security.istio.io/");
}

function documentsOf(file: string): readonly unknown[] {
  return parseAllDocuments(readFileSync(file, "utf8")).map((document) => document.toJS({ maxAliasCount: -1 }) as unknown);
}

/** Policies of the corpus that our decoders take, each under a name of its own. */
function validPolicies(): readonly { readonly from: string; readonly object: Manifest }[] {
  return globSync("**/*.yaml", { cwd: CORPUS }).flatMap((file) =>
    documentsOf(join(CORPUS, file))
      .filter(isSecurity)
      .filter((object) => decodeObject(objectTree({ ...object }, PLACE)).valid)
      .map((object) => ({ from: file, object })),
  );
}

const place = new Place({ after });
let cluster: Cluster;

before(async () => {
  cluster = await Cluster.start(place);
});

describe("the schemas of the security kinds", { timeout: 120_000 }, () => {
  test("take every policy of the corpus that the decoders take, without a warning", async () => {
    const policies = validPolicies();
    assert.ok(policies.length > 60, `${policies.length} policies`);
    for (const { from, object } of policies) {
      const { status, body } = await cluster.tryOut({ ...object, metadata: { ...object.metadata, namespace: "default" } });
      assert.equal(status, 201, `${from}: ${JSON.stringify(object)}: ${JSON.stringify(body)}`);
    }
  });

  for (const { says, object } of parse(readFileSync(join(import.meta.dirname, "refused.yaml"), "utf8")) as readonly Refused[]) {
    test(`refuse ${object.kind} ${object.metadata.name} (${says}), and so does the decoder`, async () => {
      const { status, body } = await cluster.tryOut({ ...object, metadata: { ...object.metadata, namespace: "default" } });
      assert.equal(status, 422);
      assert.ok(JSON.stringify(body).replaceAll("\\", "").includes(says), JSON.stringify(body));
      assert.equal(decodeObject(objectTree({ ...object }, PLACE)).valid, false);
    });
  }
});
