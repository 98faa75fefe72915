/** A configuration that goes wrong while the control plane serves: what is told, and what stays in force. */
import assert from "node:assert/strict";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import type { GarrisonProcess } from "./garrison.ts";
import { allowPaths, meshFiles, UNUSED_PORTS } from "./mesh.ts";
import { Place } from "./place.ts";

const place = new Place({ after }, meshFiles(UNUSED_PORTS));
let serve: GarrisonProcess;

before(async () => {
  serve = await place.serve();
});

/** Polls the status until exactly these files have problems. */
function untilProblems(...files: readonly string[]) {
  const paths = files.map((file) => join(place.config, file));
  return place.untilStatus(`problems in ${files.join(", ") || "no file"}`, ({ diagnostics }) => {
    const told = diagnostics.map(({ text }) => text.split(":")[0]);
    return told.length >= paths.length && paths.every((path) => told.includes(path)) && told.every((path = "") => paths.includes(path));
  });
}

describe("garrison serve", { timeout: 60_000 }, () => {
  test("a file that is no YAML: the last good state stays, status and log say where, and it can be mended", async () => {
    const good = place.read("policy.yaml");
    const mark = serve.mark;
    place.write("policy.yaml", good.replace("action: ALLOW", "action: [ALLOW"));
    const broken = await untilProblems("policy.yaml");
    const [problem] = broken.diagnostics;
    const where = `${join(place.config, "policy.yaml")}:`;
    assert.match(problem?.text ?? "", /policy\.yaml:\d+:\d+: error GAR0001: the file is not YAML/);
    assert.ok(problem?.text.startsWith(where), problem?.text);
    assert.match(problem?.text ?? "", /help: .*what it said before stays in force/);
    assert.deepEqual(
      broken.policies.map(({ policy, state }) => `${policy} ${state}`),
      ["PeerAuthentication shop/default valid", "AuthorizationPolicy shop/client-reads valid"],
    );
    const line = await serve.line(/GAR0001/, mark);
    assert.match(line, / error .*policy\.yaml:\d+:\d+: error GAR0001/);
    const { stdout } = await place.run("status");
    assert.match(stdout, /Problems:\n {2}\S+policy\.yaml:\d+:\d+: error GAR0001/);

    place.write("policy.yaml", good);
    await untilProblems();
    assert.match(await serve.line(/configuration mended/, mark), /GAR0001/);
  });
});
