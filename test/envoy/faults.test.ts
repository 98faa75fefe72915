/** Faults under a real Envoy, in both variants of xDS, by the command line. */
import assert from "node:assert/strict";
import { after, test } from "node:test";
import { describeFaults } from "../feature/faults.ts";
import { CLIENT, meshFiles } from "../feature/mesh.ts";
import { Place } from "../feature/place.ts";
import { describeRun } from "../feature/run.ts";
import { Scene } from "../feature/scene.ts";
import { skipWithoutEnvoy } from "./find-envoy.ts";

const skip = skipWithoutEnvoy();
const ENVOY = ["--proxy", "envoy"] as const;

describeFaults("Envoy (delta)", ENVOY, { skip, scope: { after } });
describeFaults("Envoy (sotw)", [...ENVOY, "--xds", "sotw"], { skip, scope: { after } });
describeRun("Envoy", ENVOY, { skip, scope: { after } });

test("a second mesh on the ports of the first is told so, and gets none of its connections", { skip, timeout: 60_000 }, async (t) => {
  const first = new Scene(t, ENVOY);
  await first.start();
  const second = new Place(t, meshFiles(first.ports));
  await second.serve();
  const agent = second.start(["run", "--workload", CLIENT, ...ENVOY]);
  await agent.line(new RegExp(` error .*cannot bind .*127\\.0\\.0\\.1:${first.ports.outbound}.*Address already in use`));
  const answers = await Promise.all(Array.from({ length: 40 }, () => first.ask("/open")));
  assert.deepEqual([...new Set(answers)], [200]);
});
