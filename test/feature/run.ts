/** `garrison run -- CMD` and `garrison up FOLDER`, whichever proxy they start. */
import assert from "node:assert/strict";
import { before, describe, test } from "node:test";
import { isAlive, until } from "../fakes/processes.ts";
import type { FaultOptions } from "./faults.ts";
import type { GarrisonProcess } from "./garrison.ts";
import { CLIENT, SERVER } from "./mesh.ts";
import { isListening, type ProxyFlags, Scene } from "./scene.ts";

const NODE = process.execPath;

/** Prints a line, and another when it is asked to end; then ends with 3. */
const POLITE =
  "process.on('SIGTERM', () => { console.log('asked to end'); process.exit(3); }); console.log('at work'); setInterval(() => {}, 1e6);";

/** The same tests for each proxy. */
export function describeRun(name: string, flags: ProxyFlags, { skip = false, scope }: FaultOptions): void {
  describe(`garrison run with ${name}`, { skip, timeout: 60_000 }, () => {
    const scene = new Scene(scope, flags);
    before(async () => {
      await scene.prepare();
      await scene.startControlPlane();
    });
    const run = (...command: readonly string[]): GarrisonProcess => scene.place.start(["run", "--workload", CLIENT, ...flags], command);

    test("tells the command where its services are, and ends with its exit code", async () => {
      const agent = run("sh", "-c", "env | grep ^SERVER_ | sort; exit 7");
      assert.equal(await agent.ended, 7);
      const told = agent.output.split("\n").filter((line) => line.startsWith("SERVER_"));
      const port = scene.ports.outbound;
      assert.deepEqual(told, ["SERVER_SERVICE_HOST=127.0.0.1", `SERVER_SERVICE_PORT=${port}`, `SERVER_SERVICE_PORT_HTTP=${port}`]);
    });

    test("starts the command when its proxy listens, hands SIGTERM on, and leaves no process", async () => {
      const agent = run(NODE, "-e", POLITE);
      await agent.line(/^at work$/);
      assert.equal(await isListening(scene.ports.outbound), true);
      const proxy = await scene.proxyPid(CLIENT);
      agent.signal("SIGTERM");
      assert.equal(await agent.ended, 3);
      assert.match(agent.output, /^asked to end$/m);
      assert.deepEqual([isAlive(proxy), await isListening(scene.ports.outbound)], [false, false]);
    });

    test("ends as a shell would for a command that a signal ended, and for one that is not there", async () => {
      assert.equal(await run("sh", "-c", "kill -9 $$").ended, 128 + 9);
      const missing = run("no-such-program");
      assert.equal(await missing.ended, 127);
      assert.match(missing.output, / error command ended program=no-such-program exit="not started: .*ENOENT"/);
    });

    test("refuses a second agent of one workload, and the first one serves on", async () => {
      const first = await scene.startAgent(CLIENT);
      const second = run("true");
      assert.equal(await second.ended, 4);
      assert.match(second.output, /^garrison: another process serves `\S+`\n {2}help: stop the other agent/m);
      assert.equal(await isListening(scene.ports.outbound), true);
      assert.equal(await first.stop(), 0);
    });
  });

  describe(`garrison up with ${name}`, { skip, timeout: 60_000 }, () => {
    const scene = new Scene(scope, flags);
    let up: GarrisonProcess;
    before(async () => {
      await scene.prepare();
      up = scene.place.start(["up", scene.place.config, "--listen", "127.0.0.1:0", ...flags]);
      await up.line(/end with Ctrl-C/);
    });

    test("serves every workload of the folder, and says where to look", async () => {
      assert.match(up.output, /^control plane on 127\.0\.0\.1:\d+, 2 workloads with .*:\n {2}shop\/client\n {2}shop\/server\n/m);
      await scene.untilAnswer("/open", 200);
      assert.equal(await scene.ask("/secret"), 403);
      const { exit, stdout } = await scene.place.run("status");
      assert.equal(exit, 0);
      assert.match(stdout, /shop\/client .* acked\n.*shop\/server .* acked\n/);
      await until("both decisions are recorded", async () => {
        const { stdout: records } = await scene.place.run("audit");
        return / ALLOW .* GET \/open 200 by shop\/client-reads\[0\]/.test(records) && / DENY .* GET \/secret 403 by default/.test(records);
      });
    });

    test("tells of a part that dies, and the others go on", async () => {
      const { pid } = await scene.agentStatus(SERVER);
      process.kill(pid, "SIGKILL");
      await up.line(/^garrison: shop\/server has ended \(SIGKILL\); the others go on$/);
      assert.equal(await isListening(scene.ports.outbound), true);
      assert.equal((await scene.place.run("status")).exit, 0);
    });

    test("killed, it leaves nothing behind", { skip: process.platform !== "linux" }, async () => {
      const { pid } = await scene.agentStatus(CLIENT);
      const pids = [pid, await scene.proxyPid(CLIENT), scene.place.controlPlane().pid];
      await up.kill();
      await until("all of its processes have ended", () => pids.every((each) => !isAlive(each)));
    });

    test("started again on the same folders, it goes on; asked to end, it ends with 0 and takes all down", async () => {
      const again = scene.place.start(["up", scene.place.config, "--listen", "127.0.0.1:0", ...flags]);
      await again.line(/end with Ctrl-C/);
      await scene.untilAnswer("/open", 200);
      const pids = [await scene.proxyPid(CLIENT), await scene.proxyPid(SERVER), scene.place.controlPlane().pid];
      assert.equal(await again.stop(), 0);
      assert.deepEqual(pids.map(isAlive), [false, false, false]);
    });
  });
}
