import assert from "node:assert/strict";
import { readdirSync, readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { type TestContext, test } from "node:test";
import { FakeKubernetesApi } from "../../../test/fakes/fake-kubernetes-api.ts";
import { until } from "../../../test/fakes/processes.ts";
import { tempFolder } from "../../../test/fixture/temp-folder.ts";
import { openAuthority } from "../../ca/authority.ts";
import { makeCaFiles } from "../../ca/new-ca.ts";
import { systemClock } from "../../core/clock.ts";
import { AppError } from "../../core/error.ts";
import { silentLogger } from "../../core/logger.ts";
import { DEFAULT_TRUST_DOMAIN } from "../../identity/trust-domain.ts";
import { openCaSecret } from "./ca-secret.ts";

const SECRETS = "/api/v1/namespaces/garrison-ca/secrets";
const NEW_CA = { trustDomain: DEFAULT_TRUST_DOMAIN, now: Date.now(), backdateSeconds: 120 };

interface SecretBody {
  readonly data: Readonly<Record<string, string>>;
}

/** An API server that keeps one Secret. */
class SecretApi extends FakeKubernetesApi {
  secret: SecretBody | undefined;
  made = 0;

  constructor(files?: Readonly<Record<string, string>>) {
    super();
    if (files !== undefined) this.secret = { data: encoded(files) };
    this.answer = (path, method, body) => {
      if (method === "POST") {
        if (this.secret !== undefined) return { status: 409, body: {} };
        this.secret = body as SecretBody;
        this.made += 1;
        return { status: 201, body };
      }
      if (path.startsWith(`${SECRETS}?`))
        return { status: 200, body: { metadata: { resourceVersion: "1" }, items: this.secret === undefined ? [] : [this.object("1")] } };
      return this.secret === undefined ? { status: 404, body: {} } : { status: 200, body: this.secret };
    };
  }

  object(resourceVersion: string): unknown {
    return { ...this.secret, metadata: { name: "garrison-ca", namespace: "garrison-ca", resourceVersion } };
  }
}

function encoded(files: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(files).map(([name, text]) => [name, Buffer.from(text).toString("base64")]));
}

async function open(t: TestContext, api: FakeKubernetesApi) {
  const folder = join(tempFolder(t), "ca-secret");
  const secret = { namespace: "garrison-ca", name: "garrison-ca" };
  const opened = await openCaSecret({ api, logger: silentLogger, clock: systemClock, secret, folder, trustDomain: DEFAULT_TRUST_DOMAIN });
  t.after(() => opened.close());
  return folder;
}

function read(folder: string): Readonly<Record<string, string>> {
  return Object.fromEntries(readdirSync(folder).map((name) => [name, readFileSync(join(folder, name), "utf8")]));
}

test("the replica that comes first makes the CA, and the others have the same, in private files that a CA opens", async (t) => {
  const api = new SecretApi();
  const [first, second] = await Promise.all([open(t, api), open(t, api)]);
  assert.equal(api.made, 1);
  assert.deepEqual(read(second), read(first));
  assert.deepEqual(
    readdirSync(first).map((name) => statSync(join(first, name)).mode & 0o777),
    [0o600, 0o600, 0o600],
  );
  const authority = openAuthority({
    stateFolder: tempFolder(t),
    trustDomain: DEFAULT_TRUST_DOMAIN,
    clock: systemClock,
    logger: silentLogger,
    caFolder: first,
  });
  t.after(() => authority.close());
  assert.equal(authority.rootsPem.trim(), read(first)["root-cert.pem"]?.trim());
});

test("an operator's own CA is taken as it is, and followed; what else the Secret has is not", async (t) => {
  const [mine, next] = [makeCaFiles(NEW_CA), makeCaFiles(NEW_CA)];
  const api = new SecretApi({ ...mine, note: "not ours" });
  const folder = await open(t, api);
  assert.deepEqual(read(folder), mine);
  await until("it is watched", () => api.watches.length === 1);
  api.secret = { data: encoded(next) };
  api.watches[0]?.send({ type: "MODIFIED", object: api.object("2") });
  await until("the new files are there", () => read(folder)["ca-key.pem"] === next["ca-key.pem"]);
  assert.deepEqual(read(folder), next);
});

test("a Secret that is deleted is put back: else the next replica would make a CA that nobody trusts", async (t) => {
  const mine = makeCaFiles(NEW_CA);
  const api = new SecretApi(mine);
  await open(t, api);
  await until("it is watched", () => api.watches.length === 1);
  const gone = api.object("2");
  api.secret = undefined;
  api.watches[0]?.send({ type: "DELETED", object: gone });
  const kept = (): SecretBody | undefined => api.secret;
  await until("it is back", () => kept() !== undefined);
  assert.deepEqual(kept()?.data, encoded(mine));
});

test("an API server that is away is waited for; one that refuses, and a Secret without a CA, are told", async (t) => {
  const late = new SecretApi();
  const answer = late.answer;
  let asked = 0;
  late.answer = (...question) => (++asked < 3 ? new AppError("unavailable", "away") : answer(...question));
  assert.deepEqual(readdirSync(await open(t, late)).sort(), ["ca-cert.pem", "ca-key.pem", "root-cert.pem"]);
  const forbidden = new FakeKubernetesApi();
  forbidden.answer = () => ({ status: 403, body: {} });
  await assert.rejects(open(t, forbidden), { code: "permission-denied", help: /ca-rbac\.yaml/ });
  await assert.rejects(open(t, new SecretApi({ "ca.crt": "x" })), { code: "invalid-configuration" });
});

test("a Secret with a revocation list is refused by its name, since what it lists would be accepted", async (t) => {
  const files = { ...makeCaFiles(NEW_CA), "ca-crl.pem": "list" };
  await assert.rejects(open(t, new SecretApi(files)), { code: "invalid-configuration", message: /`ca-crl\.pem`/ });
});
