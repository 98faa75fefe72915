import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, describe, it } from "node:test";
import { AgentProcess } from "../../test/fakes/agent-process.ts";
import { compile } from "../../test/fakes/compiled.ts";
import { CONTROL_PLANE_IDENTITY, FakeCsrServer } from "../../test/fakes/fake-csr-server.ts";
import { SdsTestClient } from "../../test/fakes/sds-client.ts";
import { WorkloadApiTestClient } from "../../test/fakes/workload-api-client.ts";
import { residentBytes } from "./memory.ts";
import type { AgentStatus } from "./status.ts";
import { requestOverSocket } from "./unix-http.ts";

const IDENTITY = "spiffe://cluster.local/ns/photo-ns/sa/photo-frontend";
const FAKES = join(import.meta.dirname, "../../test/fakes");
/** No compilers, a small young generation, and every collection a full one: what a process wants that does little and lives long. */
const SMALL = ["--lite-mode", "--max-semi-space-size=1", "--gc-global", "--v8-pool-size=1"];
const LIMIT = 70 * 1024 * 1024;

describe("memory", () => {
  it("of a process is told in bytes, and not at all for one that is none", async () => {
    assert.ok(((await residentBytes(process.ppid)) ?? 0) > 1024 * 1024);
    assert.equal(await residentBytes(2 ** 22 + 1), undefined);
  });

  const folder = mkdtempSync(join(tmpdir(), "garrison-mem-"));
  after(() => rmSync(folder, { recursive: true }));
  const skip = process.platform === "linux" ? false : "resident bytes are counted otherwise here";

  it("of an agent with its proxy stays below 70 MiB, also after many renewals", { skip }, async (t) => {
    const server = new FakeCsrServer(IDENTITY);
    await server.start();
    writeFileSync(join(folder, "root-cert.pem"), server.ca.rootPem);
    const runFolder = join(folder, "run");
    const agent = new AgentProcess({
      main: compile(join(FAKES, "agent-main.ts"), join(folder, "compiled")),
      flags: SMALL,
      options: {
        workload: "photo-ns/photo-frontend",
        identity: IDENTITY,
        address: "127.0.0.1",
        controlPlane: { address: "127.0.0.1", port: server.port, identity: CONTROL_PLANE_IDENTITY },
        rootCertificateFile: join(folder, "root-cert.pem"),
        runFolder,
        proxy: { kind: "embedded", command: [process.execPath, join(FAKES, "fake-proxy.ts")] },
      },
    });
    const ask = (method: "GET" | "POST", path: string) =>
      requestOverSocket({ socket: join(runFolder, "agent.sock"), method, path, timeoutMs: 10_000 });
    const client = new SdsTestClient(join(runFolder, "sds.sock"));
    const workload = new WorkloadApiTestClient(join(runFolder, "workload.sock"));
    try {
      await agent.log.line("proxy ready");
      const svids = workload.x509Svids();
      await svids.next();
      const stream = client.open("sotw");
      stream.send({ subscribe: ["default", "ROOTCA"] });
      stream.send({ nonce: (await stream.next()).nonce });
      for (let renewals = 0; renewals < 50; renewals++) {
        const renewal = ask("POST", "/renew");
        stream.send({ nonce: (await stream.next()).nonce });
        await svids.next();
        assert.equal((await renewal).status, 200);
      }
      const { memory } = JSON.parse((await ask("GET", "/status")).body) as AgentStatus;
      t.diagnostic(`${((memory.agent ?? 0) / 1024 / 1024).toFixed(1)} MiB resident after 50 renewals`);
      assert.ok((memory.agent ?? LIMIT) < LIMIT, `${memory.agent} bytes`);
    } finally {
      client.close();
      workload.close();
      agent.signal("SIGTERM");
      await agent.ended();
      server.kill();
    }
  });
});
