/** Running workloads by the command line, with the embedded proxy. */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { meshFiles, UNUSED_PORTS } from "./mesh.ts";
import { Place } from "./place.ts";
import { describeRun } from "./run.ts";

describeRun("the embedded proxy", ["--proxy", "embedded"], { scope: { after } });

test("garrison run says which workloads there are when it does not find the one that is meant, or finds several", {
  timeout: 60_000,
}, async (t) => {
  const files = meshFiles(UNUSED_PORTS);
  const second = (files["client.yaml"] ?? "").replaceAll("name: client,", "name: other,");
  const place = new Place(t, { ...files, "other.yaml": second.slice(second.indexOf("---\n") + 4) });
  await place.serve();
  const cases = [
    [[], 2, "which workload is it?", "say --workload NAMESPACE/NAME or --service-account NAMESPACE/NAME"],
    [
      ["--workload", "shop/x"],
      4,
      "the configuration has no workload `shop/x`",
      "add a WorkloadEntry; there are: shop/client, shop/other, shop/server",
    ],
    [
      ["--service-account", "shop/client"],
      2,
      "there are several workloads of service account `shop/client`: shop/client, shop/other",
      "say which with --workload",
    ],
    [["--workload", "shop/client", "--proxy", "nginx"], 2, "`--proxy nginx` is not known", "it is envoy, embedded or auto"],
  ] as const;
  for (const [flags, exit, message, help] of cases) {
    const result = await place.run("run", ...flags);
    assert.deepEqual(result, { exit, stdout: "", stderr: `garrison: ${message}\n  help: ${help}\n` });
  }
});
