import assert from "node:assert/strict";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer as createPortServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { createServer, type TLSSocket } from "node:tls";
import { Metadata } from "@grpc/grpc-js";
import { FakeCa } from "../../test/fakes/fake-ca.ts";
import { CONTROL_PLANE_IDENTITY } from "../../test/fakes/fake-csr-server.ts";
import { callControlPlane } from "./control-plane-call.ts";
import { GET_JWT_BUNDLE } from "./identity-messages.ts";

async function freePort(): Promise<number> {
  const server = createPortServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, "close");
  return port;
}

test("a call that failed while nobody listened keeps no connection to the control plane that comes then", {
  timeout: 30_000,
}, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), "garrison-call-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const ca = new FakeCa();
  const rootCertificateFile = join(folder, "root-cert.pem");
  writeFileSync(rootCertificateFile, ca.rootPem);
  const port = await freePort();
  const controlPlane = { address: "127.0.0.1", port, identity: CONTROL_PLANE_IDENTITY };
  const call = { controlPlane, rootCertificateFile, certificate: undefined, metadata: new Metadata(), deadlineMs: 10_000 };
  await assert.rejects(callControlPlane(call, GET_JWT_BUNDLE, undefined), { code: "unavailable" });
  const { key, chain: cert } = ca.material(CONTROL_PLANE_IDENTITY);
  const server = createServer({ key, cert, ALPNProtocols: ["h2"] }).listen(port, "127.0.0.1");
  t.after(() => server.close());
  // gRPC dials once more, though the client is closed.
  const [socket] = (await once(server, "connection")) as [TLSSocket];
  socket.on("error", () => undefined);
  await once(socket, "close");
});
