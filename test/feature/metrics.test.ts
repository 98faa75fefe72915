/** `garrison serve --metrics-listen`, read as Prometheus reads it. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { parse } from "yaml";
import { until } from "../fakes/processes.ts";
import { HAS_PROMTOOL, promtool } from "../fixture/promtool.ts";
import { enrol, openAds, report } from "./caller.ts";
import { meshFiles, peerAuthentication, SERVER, SERVER_IDENTITY, UNUSED_PORTS } from "./mesh.ts";
import { Place } from "./place.ts";
import { MetricsReader } from "./read-metrics.ts";

const place = new Place({ after }, { ...meshFiles(UNUSED_PORTS), "peers.yaml": peerAuthentication("PERMISSIVE") });
const skip = HAS_PROMTOOL ? false : "there is no promtool (apt-get install prometheus)";
let metrics: MetricsReader;

before(async () => {
  const serve = await place.serve("127.0.0.1:0", ["--metrics-listen", "127.0.0.1:0"]);
  metrics = await MetricsReader.of(serve);
});

const value = (series: string): Promise<number> => metrics.value(series);

describe("metrics", { timeout: 60_000 }, () => {
  test("count what is issued and refused, proxies and decisions, and when certificates end", async () => {
    const issued = 'garrison_identity_requests_total{method="CreateCertificate",code="OK"}';
    const refused = 'garrison_identity_requests_total{method="CreateCertificate",code="UNAUTHENTICATED"}';
    assert.deepEqual([await value(issued), await value(refused)], [0, 0]);
    const { stdout } = await place.run("token", SERVER);
    const material = await enrol(place.controlPlane(), SERVER_IDENTITY, stdout.trim());
    await assert.rejects(enrol(place.controlPlane(), SERVER_IDENTITY, "none"));
    assert.deepEqual([await value(issued), await value(refused)], [1, 1]);

    const typeUrl = "type.googleapis.com/envoy.config.listener.v3.Listener";
    assert.equal((await openAds(place.controlPlane(), SERVER, { typeUrl, names: ["*"], proxy: "envoy" }, material)).code, "OK");
    const decision = { timeMs: BigInt(Date.now()), protocol: "http", service: SERVER, effect: "allow", origin: "no-policy" };
    assert.equal((await report(place.controlPlane(), SERVER, [decision], material)).code, "OK");
    await until("the decision is written", async () => (await value("garrison_record_written_total")) === 1);
    assert.equal(await value("garrison_record_decisions"), 1);
    assert.ok((await value("garrison_record_bytes")) > 0);

    const now = Date.now() / 1000;
    const days = async (certificate: string) =>
      ((await value(`garrison_certificate_expiry_timestamp_seconds{certificate="${certificate}"}`)) - now) / 86_400;
    const [signer, root, serving] = [await days("signer"), await days("root"), await days("serving")];
    assert.ok(signer > 300 && root > 300 && serving > 0.9 && serving < 1.1, `${signer} ${root} ${serving}`);

    await place.run("ca", "revoke", "--identity", SERVER);
    assert.equal(await value("garrison_revoked_certificates"), 1);
    assert.equal(await value("garrison_revocation_blocks"), 1);
  });

  test("tell what is wrong with the configuration, and what stays in force", async () => {
    const states = await value("garrison_mesh_states_total");
    assert.equal(await value("garrison_kept_objects"), 0);
    place.write("peers.yaml", peerAuthentication("PERMISSIVE").replace("PERMISSIVE", "STRICKT"));
    await until("it is told", async () => (await value('garrison_configuration_problems{severity="error"}')) > 0);
    assert.equal(await value("garrison_kept_objects"), 1);
    assert.ok((await value("garrison_mesh_states_total")) > states);
    place.write("peers.yaml", peerAuthentication("PERMISSIVE"));
    await until("it is mended", async () => (await value('garrison_configuration_problems{severity="error"}')) === 0);
  });

  test("name nobody, and are no more in number for a larger mesh", async () => {
    const before = await metrics.series();
    assert.doesNotMatch(before.join("\n"), /shop|spiffe|cluster\.local|server|client|127\.0\.0\.1/i);
    const more = Array.from(
      { length: 50 },
      (_, index) =>
        `apiVersion: v1\nkind: ServiceAccount\nmetadata: { name: w${index}, namespace: shop }\n---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: { name: w${index}, namespace: shop }\nspec: { address: 10.9.0.${index + 1}, serviceAccount: w${index} }\n`,
    );
    place.write("more.yaml", more.join("---\n"));
    await until("they are there", async () => (await value("garrison_workloads")) >= 50);
    assert.deepEqual(await metrics.series(), before);
  });

  test("are at one address, for reading alone, and not without end for one asker", async () => {
    const ask = async (path: string, method = "GET") => (await fetch(new URL(path, metrics.url), { method })).status;
    let head = 0;
    await until("there is a turn", async () => {
      head = await ask("/metrics", "HEAD");
      return head !== 429;
    });
    assert.deepEqual([await ask("/"), await ask("/v1/status"), await ask("/metrics", "POST"), head], [404, 404, 405, 200]);
    const all = await Promise.all(Array.from({ length: 200 }, () => ask("/metrics")));
    assert.ok(all.includes(429), all.join());
  });

  test("are as Prometheus wants them", { skip }, async () => {
    assert.deepEqual(promtool(["check", "metrics"], await metrics.text()), { exit: 0, output: "" });
  });
});

interface Rules {
  readonly groups: readonly { readonly rules: readonly { readonly alert: string; readonly expr: string }[] }[];
}

test("the alert rules of the page ask for metrics that there are", () => {
  const docs = join(import.meta.dirname, "..", "..", "docs");
  const rules = /cat > alerts\.yaml <<'EOF'\n([\s\S]*?)\nEOF/.exec(readFileSync(join(docs, "tasks", "metrics.md"), "utf8"))?.[1] ?? "";
  const asked = (parse(rules) as Rules).groups.flatMap((group) =>
    group.rules.flatMap(({ expr }) => expr.match(/\b(?:garrison|process|nodejs)_\w+/g) ?? []),
  );
  assert.ok(asked.length > 5);
  const reference = readFileSync(join(docs, "reference", "metrics.md"), "utf8");
  const known = new Set([...reference.matchAll(/^\| `(\w+)` /gm)].map(([, name = ""]) => name));
  const series = asked.map((name) => (known.has(name) ? name : name.replace(/_(?:bucket|sum|count)$/, "")));
  assert.deepEqual(
    series.filter((name) => !known.has(name)),
    [],
  );
});
