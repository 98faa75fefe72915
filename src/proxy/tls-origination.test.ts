import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { after, test } from "node:test";
import { FakeCa } from "../../test/fakes/fake-ca.ts";
import type { TlsOrigination } from "../compile/workload-policy.ts";
import { AppError } from "../core/error.ts";
import type { ServerName } from "../policy/model.ts";
import { parseCertificates } from "../x509/certificate.ts";
import { OriginationContext, serverNameFlaw } from "./tls-origination.ts";

const ca = new FakeCa();
const folder = mkdtempSync(join(tmpdir(), "gp-"));
after(() => rmSync(folder, { recursive: true }));

const isUnavailable = (error: unknown) => error instanceof AppError && error.code === "unavailable";

function flawOf(names: Parameters<FakeCa["serverMaterial"]>[0], wanted: readonly ServerName[]): string | undefined {
  const [leaf] = parseCertificates(ca.serverMaterial(names).chain);
  assert.ok(leaf);
  return serverNameFlaw(leaf.der, wanted)?.code;
}

const dns = (value: string): ServerName => ({ kind: "dns", value });

test("a DNS name is one of the certificate's, in any case, and a wildcard stands for one label", () => {
  assert.equal(flawOf({ dnsNames: ["a.example.com"] }, [dns("a.example.com")]), undefined);
  assert.equal(flawOf({ dnsNames: ["A.Example.com"] }, [dns("a.example.com")]), undefined);
  assert.equal(flawOf({ dnsNames: ["*.example.com"] }, [dns("a.example.com")]), undefined);
  for (const name of ["*.com", "*.b.example.com", "a*.example.com", "example.com", "b.example.com"])
    assert.equal(flawOf({ dnsNames: [name] }, [dns("a.example.com")]), "permission-denied", name);
});

test("an address and a URI are the certificate's to the letter, and no name of another kind", () => {
  const uri = "spiffe://example.com/a";
  assert.equal(flawOf({ addresses: ["192.0.2.1"] }, [{ kind: "ip", value: "192.0.2.1" }]), undefined);
  assert.equal(flawOf({ dnsNames: ["192.0.2.1"] }, [{ kind: "ip", value: "192.0.2.1" }]), "permission-denied");
  assert.equal(flawOf({ identities: [uri] }, [{ kind: "uri", value: uri }]), undefined);
  assert.equal(flawOf({ identities: [`${uri}b`] }, [{ kind: "uri", value: uri }]), "permission-denied");
});

test("one of several names is enough, and no name at all is none", () => {
  assert.equal(flawOf({ dnsNames: ["a.example.com"] }, [dns("b.example.com"), dns("a.example.com")]), undefined);
  assert.equal(flawOf({ dnsNames: ["a.example.com"] }, []), "permission-denied");
});

function origination(roots: string): TlsOrigination {
  return { sni: "a.example.com", verify: { names: [dns("a.example.com")], roots } };
}

test("a file that is not there, is empty, is no file or is no PEM is no context, and it is read again when it is there", async () => {
  const path = join(folder, "ca.pem");
  const context = new OriginationContext(origination(path));
  await assert.rejects(context.get(), isUnavailable);
  for (const text of ["", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"]) {
    writeFileSync(path, text);
    await assert.rejects(context.get(), isUnavailable);
  }
  await assert.rejects(new OriginationContext(origination(folder)).get(), isUnavailable);
  await assert.rejects(new OriginationContext(origination("/dev/zero")).get(), isUnavailable);
  writeFileSync(path, ca.rootPem);
  assert.equal(await context.get(), await context.get());
});
