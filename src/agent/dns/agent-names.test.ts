import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { decode, encode } from "dns-packet";
import { CONTROL_PLANE_IDENTITY, FakeCsrServer } from "../../../test/fakes/fake-csr-server.ts";
import { until } from "../../../test/fakes/processes.ts";
import { silentLogger } from "../../core/logger.ts";
import { type NamesReport, NamesUpdateSchema, NameTableChangeSchema } from "../../gen/garrison/v1/names_pb.js";
import { startAgent } from "../agent.ts";

const IDENTITY = "spiffe://cluster.local/ns/shop/sa/cart";

/** The code of the answer to a question for `cart`, then its addresses. */
async function ask(port: number): Promise<string> {
  const socket = createSocket("udp4");
  socket.send(encode({ type: "query", id: 1, questions: [{ type: "A", name: "cart", class: "IN" }] }), port, "127.0.0.1");
  const [bytes] = (await once(socket, "message")) as [Buffer];
  socket.close();
  const { rcode, answers = [] } = decode(bytes) as ReturnType<typeof decode> & { readonly rcode?: string };
  return [rcode, ...answers.map((each) => (each.type === "A" ? each.data : each.type))].join(" ");
}

test("an agent that answers DNS is not ready, and answers nothing, before the control plane has sent it names", {
  timeout: 60_000,
}, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "garrison-names-"));
  const server = new FakeCsrServer(IDENTITY);
  const reports: NamesReport[] = [];
  const { promise: allowed, resolve: allow } = Promise.withResolvers<void>();
  server.followNames = (call) => {
    call.on("error", () => undefined);
    call.on("data", (report: NamesReport) => {
      reports.push(report);
      if (report.nonce !== "") return;
      const names = [{ host: "cart.shop.svc.cluster.local", addresses: ["10.96.0.1"] }];
      const change = create(NameTableChangeSchema, { version: "v1", whole: true, domain: "cluster.local", closed: true, names });
      void allowed.then(() => call.write(create(NamesUpdateSchema, { nonce: "n1", change: toBinary(NameTableChangeSchema, change) })));
    });
  };
  await server.start();
  for (const [name, text] of [
    ["root-cert.pem", server.ca.rootPem],
    ["token", "token"],
    ["resolv.conf", ""],
  ] as const)
    writeFileSync(join(folder, name), text);
  const agent = await startAgent({
    workload: "shop/cart",
    identity: IDENTITY,
    address: "127.0.0.1",
    controlPlane: { address: "127.0.0.1", port: server.port, identity: CONTROL_PLANE_IDENTITY },
    rootCertificateFile: join(folder, "root-cert.pem"),
    tokenFile: join(folder, "token"),
    runFolder: join(folder, "run"),
    proxy: { kind: "none" },
    dns: { port: 0, resolvConf: join(folder, "resolv.conf") },
    logger: silentLogger,
  });
  t.after(async () => {
    await agent.stop();
    server.kill();
    rmSync(folder, { recursive: true });
  });
  await until("the agent follows names", () => reports.length > 0);
  const before = await agent.status();
  const port = before.dns?.port ?? 0;
  assert.deepEqual([before.certificate.state, before.ready, before.dns], ["valid", false, { port, followed: true }]);
  assert.equal(await ask(port), "SERVFAIL");
  allow();
  await until("the agent is ready", async () => (await agent.status()).ready);
  assert.equal(await ask(port), "NOERROR 10.96.0.1");
  assert.deepEqual((await agent.status()).dns, { port, names: 1, followed: true });
  await until("the names are acknowledged", () => reports.some(({ nonce, version }) => nonce === "n1" && version === "v1"));
});
