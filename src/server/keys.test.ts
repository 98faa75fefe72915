import assert from "node:assert/strict";
import { once } from "node:events";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { type TestContext, test } from "node:test";
import { labels, meta, SETTINGS, workloadEntry } from "../../test/fixture/objects.ts";
import { tempFolder } from "../../test/fixture/temp-folder.ts";
import { SigningKey } from "../../test/fixture/tokens.ts";
import { systemClock } from "../core/clock.ts";
import { silentLogger } from "../core/logger.ts";
import { parseIpBlock } from "../policy/ip-block.ts";
import type { JwtRule, MeshObject } from "../policy/model.ts";
import { type MeshWithKeys, openMeshWithKeys } from "./keys.ts";
import type { MeshView } from "./mesh-state.ts";

const KEY = new SigningKey("k");

function configuration(url: string) {
  const rule: JwtRule = {
    issuer: "a",
    jwks: { kind: "uri", url, timeoutMs: 5_000 },
    audiences: [],
    fromHeaders: [],
    fromParams: [],
    fromCookies: [],
    forwardOriginalToken: false,
    outputPayloadToHeader: undefined,
    outputClaimToHeaders: [],
    spaceDelimitedClaims: [],
    presence: "OPTIONAL",
  };
  const policy: MeshObject = { kind: "RequestAuthentication", meta: meta("shop/tokens"), selector: labels({}), jwtRules: [rule] };
  return { objects: [workloadEntry("shop/cart"), policy], diagnostics: [] };
}

async function issuer(test: TestContext): Promise<string> {
  const server = createServer((_request, response) => response.end(JSON.stringify({ keys: [KEY.jwk()] })));
  test.after(() => server.close().closeAllConnections());
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`;
}

function open(test: TestContext, folder: string, allowed: readonly string[]): MeshWithKeys {
  const opened = openMeshWithKeys({
    settings: SETTINGS,
    logger: silentLogger,
    clock: systemClock,
    folder,
    allowed: allowed.map(parseIpBlock),
  });
  test.after(() => opened.jwks.close());
  return opened;
}

function keysIn(view: MeshView) {
  return view.policies.get("shop/cart")?.requestAuthentication?.map(({ keys }) => keys);
}

test("a configuration is in force at once, without keys, and again with them when they come", async (test) => {
  const url = await issuer(test);
  const { mesh, apply } = open(test, tempFolder(test), ["127.0.0.1"]);
  const seen: { readonly generation: number; readonly keys: ReturnType<typeof keysIn> }[] = [];
  const see = (view: MeshView): number => seen.push({ generation: view.generation, keys: keysIn(view) });
  const second = new Promise<void>((resolve) => mesh.onChange((view) => see(view) === 2 && resolve()));
  apply(configuration(url));
  assert.deepEqual(
    seen.map(({ keys }) => keys),
    [[[]]],
  );
  await second;
  assert.deepEqual(
    seen.map(({ keys }) => keys),
    [[[]], [KEY.publicKeys()]],
  );
  assert.deepEqual(seen[0]?.generation, seen[1]?.generation);
});

test("after a restart the first state has the keys of before, with the issuer gone", async (test) => {
  const url = await issuer(test);
  const folder = tempFolder(test);
  const before = open(test, folder, ["127.0.0.1"]);
  before.apply(configuration(url));
  await new Promise<void>((resolve) => before.mesh.onChange(() => resolve()));
  before.jwks.close();
  const after = open(test, folder, []);
  after.apply(configuration(url));
  assert.deepEqual(keysIn(after.mesh.current), [KEY.publicKeys()]);
});

test("an address that the operator did not allow is not asked, and its tokens stay refused", async (test) => {
  const url = await issuer(test);
  const { mesh, jwks, apply } = open(test, tempFolder(test), []);
  apply(configuration(url));
  for (let tries = 0; jwks.statuses()[0]?.error === undefined; tries++) {
    assert.ok(tries < 5_000, "the fetch never failed");
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.match(jwks.statuses()[0]?.error ?? "", /`127\.0\.0\.1` is not on the public internet/);
  assert.deepEqual(keysIn(mesh.current), [[]]);
});
