/** Istio's certificate service with clients that others wrote: the one that istio.io/api generates for Go, and grpcurl. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";
import { buildCsr, generateKey } from "../../src/x509/csr-builder.ts";
import { CLIENT, CLIENT_IDENTITY, meshFiles, UNUSED_PORTS } from "../feature/mesh.ts";
import { Place } from "../feature/place.ts";

const TOOLS = process.env.GARRISON_GO_TOOLS ?? "";
const skip = TOOLS === "" && process.env.GARRISON_REQUIRE_GO !== "1" ? "there are no Go tools" : false;
const execute = promisify(execFile);

describe("Istio's certificate service", { skip, timeout: 180_000 }, () => {
  const place = new Place({ after }, meshFiles(UNUSED_PORTS));
  before(() => place.serve());
  const token = async (...args: readonly string[]) => (await place.run("token", CLIENT, ...args)).stdout.trim();
  const target = () => `${place.controlPlane().host}:${place.controlPlane().port}`;

  const client = async (bearer: string, identity = CLIENT_IDENTITY) => {
    const { rootCertificate } = place.controlPlane();
    const args = ["-target", target(), "-root", rootCertificate, "-identity", identity, "-token", bearer];
    return execute(join(TOOLS, "istio-csr-client"), args);
  };

  test("gives Go's generated client a certificate by its token, and another by mutual TLS with that one", async () => {
    const { stdout } = await client(await token());
    const answers = stdout
      .trim()
      .split("\n")
      .map((line) => JSON.parse(line) as { readonly by: string; readonly serial: string; readonly uris: string[]; readonly chain: number });
    assert.deepEqual(
      answers.map(({ by, uris, chain }) => ({ by, uris, chain })),
      ["token", "certificate"].map((by) => ({ by, uris: [CLIENT_IDENTITY], chain: 2 })),
    );
    const { stdout: list } = await place.run("ca", "list", "--identity", CLIENT_IDENTITY);
    for (const [index, caller] of ["token", "client certificate"].entries())
      assert.match(list, new RegExp(`issued +${answers[index]?.serial} ${CLIENT_IDENTITY} by ${caller},`));
  });

  test("refuses Go's client by the code of gRPC where it proves nothing", async () => {
    await assert.rejects(client("not.a.token"), ({ stderr }: { readonly stderr: string }) => /code = Unauthenticated/.test(stderr));
    const other = await token("--audience", "other");
    await assert.rejects(client(other), ({ stderr }: { readonly stderr: string }) => /code = Unauthenticated/.test(stderr));
  });

  test("answers grpcurl by Istio's proto, and refuses it without a token", async () => {
    const csr = buildCsr(generateKey(), CLIENT_IDENTITY);
    const grpcurl = (...headers: readonly string[]) => {
      const proto = ["-import-path", "proto", "-proto", "istio/v1/auth/ca.proto", "-max-time", "20"];
      const tls = ["-cacert", place.controlPlane().rootCertificate, "-servername", "localhost"];
      const call = [
        "-d",
        JSON.stringify({ csr, validityDuration: 600 }),
        target(),
        "istio.v1.auth.IstioCertificateService/CreateCertificate",
      ];
      return execute(join(TOOLS, "grpcurl"), [...proto, ...tls, ...headers, ...call]);
    };
    const { stdout } = await grpcurl("-H", `authorization: Bearer ${await token()}`);
    const { certChain } = JSON.parse(stdout) as { readonly certChain: readonly string[] };
    assert.equal(certChain.length, 2);
    assert.match(certChain[0] ?? "", /^-----BEGIN CERTIFICATE-----/);
    await assert.rejects(grpcurl(), ({ stderr }: { readonly stderr: string }) => /Code: Unauthenticated/.test(stderr));
  });
});
