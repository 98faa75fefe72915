/** `garrison check` and `garrison authz` of a folder, told by the operator's file which trust domains the mesh federates with. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { garrison, type Result } from "./garrison.ts";
import { meshFiles, SERVER, UNUSED_PORTS } from "./mesh.ts";
import { Place } from "./place.ts";

const POLICY = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: client-reads, namespace: shop }
spec:
  selector: { matchLabels: { app: server } }
  rules:
    - from: [{ source: { principals: ["west.example/ns/shop/sa/client", "west.example/billing/API"] } }]
    - from: [{ source: { trustDomains: ["west.example"], namespaces: ["billing"] } }]
`;
const CALLER = ["--from", "spiffe://west.example/ns/shop/sa/client"];

describe("a folder of a mesh that federates", { timeout: 60_000 }, () => {
  const place = new Place({ after }, { ...meshFiles(UNUSED_PORTS), "policy.yaml": POLICY });
  const file = join(place.folder, "federation.yaml");
  writeFileSync(file, 'federatesWith: [{ trustDomain: west.example, url: "https://west.example/", profile: https_web }]\n');
  const check = (...flags: readonly string[]): Promise<Result> => garrison(["check", place.config, ...flags]);
  const explain = (...flags: readonly string[]) => garrison(["authz", "explain", SERVER, "-f", place.config, ...CALLER, ...flags]);

  test("is checked with the callers of the other domain in mind", async () => {
    const [alone, together] = await Promise.all([check(), check("--federation", file)]);
    assert.match(
      alone.stdout,
      /GAR0207.*`west\.example\/billing\/API`(.|\n)*GAR0208.*`billing` in `namespaces`(.|\n)*0 errors, 2 warnings/,
    );
    assert.match(together.stdout, /^\d+ workloads, 1 service, \d policies: 0 errors, 0 warnings\n$/);
  });

  test("answers for a caller of the other domain as the control plane would", async () => {
    const [alone, together] = await Promise.all([explain(), explain("--federation", file)]);
    assert.match(alone.stdout, /REFUSED: the trust domain `west\.example` is not one of the mesh\n$/);
    assert.match(together.stdout, /ALLOW by shop\/client-reads\[0\]/);
  });

  test("is not answered for with a file that would not be taken", async () => {
    const own = await check("--federation", file, "--trust-domain", "west.example");
    assert.match(own.stderr, /the federation's file cannot be taken\n.*federates with `west\.example`, which is the mesh's own/);
    assert.notEqual(own.exit, 0);
    const missing = await explain("--federation", join(place.folder, "missing.yaml"));
    assert.match(missing.stderr, /the federation's file cannot be read/);
    assert.notEqual(missing.exit, 0);
  });
});
