import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { X509Certificate } from "node:crypto";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, test } from "node:test";
import { serverCredentials } from "../../test/fixture/server-credentials.ts";
import { AppError } from "../core/error.ts";
import { clientCredentials, RotatingTlsMaterial } from "../rpc/credentials.ts";
import type { XdsPeer } from "./stream.ts";
import { DeltaStream, delta, setOf, startServer } from "./test-support.ts";
import { LISTENER } from "./types.ts";

const closers: (() => void)[] = [];
afterEach(() => {
  for (const close of closers.splice(0)) close();
});

const URI = "spiffe://cluster.local/ns/default/sa/web";

interface Authority {
  /** A key and certificate for a URI, with the authority's own root. */
  issue(uri: string): RotatingTlsMaterial;
}

function authority(folder: string): Authority {
  const file = (name: string): string => join(folder, name);
  const openssl = (command: string, ...more: string[]): void => {
    execFileSync("openssl", [...command.split(" "), ...more], { cwd: folder, stdio: "ignore" });
  };
  const request = "req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout";
  openssl(`${request} root.key -x509 -days 1 -out root.pem -subj /CN=root`);
  const issue = (uri: string): RotatingTlsMaterial => {
    writeFileSync(file("names"), `subjectAltName=critical,URI:${uri}`);
    openssl(`${request} leaf.key -out leaf.csr -subj /CN=leaf`);
    openssl("x509 -req -in leaf.csr -CA root.pem -CAkey root.key -CAcreateserial -days 1 -extfile names -out leaf.pem");
    const [key, chain, roots] = ["leaf.key", "leaf.pem", "root.pem"].map((name) => readFileSync(file(name), "utf8"));
    assert.ok(key && chain && roots);
    return new RotatingTlsMaterial({ key, chain, roots });
  };
  return { issue };
}

function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), "xds-"));
  closers.push(() => rmSync(folder, { recursive: true }));
  return folder;
}

test("admission sees the verified certificate, and none where there is none or one of strangers", async () => {
  const ours = authority(temporaryFolder());
  const server = ours.issue("spiffe://cluster.local/ns/istio-system/sa/garrison");
  const workload = ours.issue(URI);
  const stranger = authority(temporaryFolder()).issue(URI);
  const peers: XdsPeer[] = [];
  const admit = (peer: XdsPeer): { key: string } => {
    peers.push(peer);
    if (peer.certificate === undefined) throw new AppError("unauthenticated", "a proxy needs a certificate");
    return { key: "n" };
  };
  const { ads, cache, address, stop } = await startServer({ admit }, { credentials: serverCredentials(server) });
  closers.unshift(stop);
  cache.set("n", setOf({ [LISTENER]: { a: "1" } }));
  const open = (identity: RotatingTlsMaterial | undefined): DeltaStream => {
    const stream = new DeltaStream(
      address,
      clientCredentials(workload, identity, () => undefined),
    );
    closers.unshift(() => stream.close());
    stream.send({ node: { id: "n" }, typeUrl: LISTENER });
    return stream;
  };
  assert.deepEqual(delta(await open(workload).take()), { type: LISTENER, resources: { a: "1" } });
  assert.deepEqual(peers[0]?.certificate, new X509Certificate(workload.current?.chain ?? "").raw);
  for (const identity of [undefined, stranger]) {
    const { code, details } = await open(identity).status;
    assert.deepEqual([code, details], [16, "a proxy needs a certificate"]);
  }
  assert.deepEqual(
    peers.slice(1).map(({ certificate }) => certificate),
    [undefined, undefined],
  );
  assert.equal(ads.connections().length, 1);
});
