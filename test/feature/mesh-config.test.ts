/** The mesh's configuration by the front door: what starts, what is refused, and what an edit does to a mesh that runs. */
import assert from "node:assert/strict";
import { existsSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { garrison, type Result } from "./garrison.ts";
import { meshFiles, SERVER, UNUSED_PORTS } from "./mesh.ts";
import { Place } from "./place.ts";

function configMap(mesh: string): string {
  const text = mesh
    .split("\n")
    .map((line) => `    ${line}\n`)
    .join("");
  return `apiVersion: v1\nkind: ConfigMap\nmetadata: { name: istio, namespace: istio-system }\ndata:\n  mesh: |\n${text}`;
}

function filesWith(mesh: string): Readonly<Record<string, string>> {
  return { ...meshFiles(UNUSED_PORTS), "istio.yaml": configMap(mesh) };
}

/** Starts a control plane that is not to come up. */
function failToServe(place: Place, ...flags: readonly string[]): Promise<Result> {
  return place.run("serve", "--config", place.config, "--listen", "127.0.0.1:0", "--log-level", "error", ...flags);
}

describe("a mesh with a configuration of its own", { timeout: 120_000 }, () => {
  test("has its trust domain, in the CA, in identities and in what policies mean", async (t) => {
    const place = new Place(t, filesWith("trustDomain: corp.example\ntrustDomainAliases: [old.example]"));
    await place.serve();
    assert.equal((await place.status()).trustDomain, "corp.example");
    assert.equal(place.controlPlane().identity, "spiffe://corp.example/ns/istio-system/sa/garrison");
    for (const [caller, exit] of [
      ["spiffe://corp.example/ns/shop/sa/client", 0],
      ["spiffe://old.example/ns/shop/sa/client", 0],
      ["shop/client", 0],
      ["spiffe://cluster.local/ns/shop/sa/client", 1],
    ] as const) {
      const live = await place.run("authz", "explain", SERVER, "--from", caller, "--path", "/open");
      assert.equal(live.exit, exit, `${caller}: ${live.stdout}${live.stderr}`);
      const offline = await garrison(["authz", "explain", SERVER, "-f", place.config, "--from", caller, "--path", "/open"]);
      assert.deepEqual([offline.exit, offline.stdout], [live.exit, live.stdout]);
    }
  });

  test("does not start with one that is wrong, and makes no CA then", async (t) => {
    const place = new Place(t, filesWith("trustDomain: corp.example\npathNormalisation: { normalization: NONE }"));
    const { exit, stderr } = await failToServe(place);
    assert.equal(exit, 3);
    assert.match(
      stderr,
      /the mesh's configuration cannot be taken, so nothing can be served\n\S+istio\.yaml:7:5: error GAR0003: unknown field `pathNormalisation`\n/,
    );
    assert.match(stderr, /did you mean `pathNormalization`\?/);
    assert.equal(existsSync(join(place.state, "ca", "root-cert.pem")), false);
  });

  test("does not start against its command line", async (t) => {
    const place = new Place(t, filesWith("trustDomain: corp.example"));
    const { exit, stderr } = await failToServe(place, "--trust-domain", "other.example");
    assert.equal(exit, 3);
    assert.match(stderr, /istio\.yaml:1:1: error GAR0107: `trustDomain` would be `corp\.example`, and is `other\.example`/);
    const check = await garrison(["check", place.config, "--trust-domain", "other.example"]);
    assert.equal(check.exit, 1);
    assert.match(check.stdout, /error GAR0107/);
    assert.equal((await garrison(["check", place.config, "--trust-domain", "corp.example"])).exit, 0);
  });

  test("is not asked offline while its configuration is wrong", async (t) => {
    const place = new Place(t, filesWith("trustDomain: [corp.example]"));
    const { exit, stdout, stderr } = await garrison([
      "authz",
      "explain",
      SERVER,
      "-f",
      place.config,
      "--from",
      "shop/client",
      "--path",
      "/open",
    ]);
    assert.deepEqual([exit, stdout], [3, ""]);
    assert.match(stderr, /istio\.yaml:6:18: error GAR0006: `trustDomain` must be a string/);
  });

  test("takes an edit at once, refuses one that changes its trust domain, and keeps the rest of it as it was", async (t) => {
    const place = new Place(t, filesWith("trustDomain: corp.example"));
    await place.serve();
    const admitted = async (path: string): Promise<Result["exit"]> =>
      (await place.run("authz", "explain", SERVER, "--from", "shop/client", "--path", path)).exit;
    assert.equal(await admitted("//open"), 1);
    place.write("istio.yaml", configMap("trustDomain: corp.example\npathNormalization: { normalization: MERGE_SLASHES }"));
    await place.untilStatus("the edit", ({ generation }) => generation >= 2);
    assert.equal(await admitted("//open"), 0);

    place.write("istio.yaml", configMap("trustDomain: other.example\npathNormalization: { normalization: NONE }"));
    const refused = await place.untilStatus("the refusal", ({ diagnostics }) => diagnostics.length > 0);
    assert.match(refused.diagnostics[0]?.text ?? "", /GAR0107: `trustDomain` would be `other\.example`, and is `corp\.example`/);
    assert.equal(refused.trustDomain, "corp.example");
    assert.equal(await admitted("//open"), 0);

    place.write("istio.yaml", configMap("trustDomain: corp.example\npathNormalisation: {}"));
    const mistaken = await place.untilStatus("the mistake", ({ diagnostics }) => diagnostics[0]?.text.includes("GAR0003") === true);
    // What was refused before is in no file any more.
    assert.equal(mistaken.diagnostics.length, 1, JSON.stringify(mistaken.diagnostics));
    assert.equal(await admitted("//open"), 0);

    place.remove("istio.yaml");
    const without = await place.untilStatus("the mesh without it", ({ diagnostics }) => diagnostics.length === 0);
    assert.equal(without.trustDomain, "corp.example");
    assert.equal(await admitted("//open"), 1);
  });
});
