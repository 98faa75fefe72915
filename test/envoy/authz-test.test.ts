/** `garrison authz test --engine envoy`: a user proves the offline answers by a real Envoy. */
import assert from "node:assert/strict";
import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, describe, test } from "node:test";
import { garrison } from "../feature/garrison.ts";
import { CLIENT_IDENTITY, meshFiles, OPEN_RULE, SERVER, UNUSED_PORTS } from "../feature/mesh.ts";
import { Place } from "../feature/place.ts";
import { skipWithoutEnvoy } from "./find-envoy.ts";

const skip = skipWithoutEnvoy();
const place = new Place({ after }, meshFiles(UNUSED_PORTS));

function fileOf(text: string): string {
  const file = join(place.folder, "tests.yaml");
  writeFileSync(file, text);
  return file;
}

const RIGHT = `tests:
  - { name: the client reads, workload: ${SERVER}, request: { from: "${CLIENT_IDENTITY}", path: /open }, expect: 200, by: "${OPEN_RULE}" }
  - { name: the client deletes, workload: ${SERVER}, request: { from: "${CLIENT_IDENTITY}", path: /shut }, expect: deny, by: default }
  - { name: nobody, workload: ${SERVER}, request: { from: plaintext }, expect: refused }
`;

describe("garrison authz test --engine envoy", { skip, timeout: 120_000 }, () => {
  test("answers as expected, names the engine, and says that the decision engine agrees", async () => {
    const { exit, stdout, stderr } = await garrison(["authz", "test", fileOf(RIGHT), "-f", place.config, "--engine", "envoy"]);
    assert.match(stdout, /^3 as expected, 0 not by Envoy \d+\.\d+\.\d+, the decision engine says the same\n$/);
    assert.deepEqual([exit, stderr], [0, ""]);
  });

  test("tells what is not as expected, and what cannot be asked", async () => {
    const wrong = `${RIGHT}  - { name: wrong, workload: ${SERVER}, request: { from: plaintext }, expect: 200 }
  - { name: far, workload: ${SERVER}, request: { from: plaintext, sourceIp: 192.0.2.1 }, expect: refused }
`;
    const { exit, stdout } = await garrison(["authz", "test", fileOf(wrong), "-f", place.config, "--engine", "envoy"]);
    assert.equal(exit, 1);
    assert.match(stdout, /tests\.yaml:5:5: wrong \(\S+\): expected 200, got refused\n/);
    assert.match(stdout, /far \(\S+\): a real Envoy cannot be asked from 192\.0\.2\.1, which is no address of this machine\n/);
    assert.match(stdout, /\n3 as expected, 2 not by Envoy/);
  });
});

test("an engine that is none is refused", async () => {
  const { exit, stderr } = await garrison(["authz", "test", fileOf(RIGHT), "-f", place.config, "--engine", "istio"]);
  assert.equal(exit, 2);
  assert.match(stderr, /`--engine istio` is not known\n {2}help: it is decision or envoy/);
});
