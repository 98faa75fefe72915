import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { request } from "node:https";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, test } from "node:test";
import type { TLSSocket } from "node:tls";
import { FakeCa } from "../../../test/fakes/fake-ca.ts";
import { until } from "../../../test/fakes/processes.ts";
import { RecordingLogger } from "../../../test/fakes/recording-logger.ts";
import { type BundleEndpoint, serveBundle } from "./endpoint.ts";

const ca = new FakeCa("web");
const newPair = () => ca.serverMaterial({ addresses: ["127.0.0.1"] });

let folder: string;
let logger: RecordingLogger;
let endpoint: BundleEndpoint | undefined;
/** How often the files were read. */
let looks: number;

const path = (name: "key" | "chain") => join(folder, name);
const write = (name: "key" | "chain", text: string) => writeFileSync(path(name), text);

async function serve(): Promise<void> {
  const material = () => {
    looks += 1;
    return { key: readFileSync(path("key"), "utf8"), chain: readFileSync(path("chain"), "utf8") };
  };
  const listen = { host: "127.0.0.1", port: 0 };
  endpoint = await serveBundle({ listen, material, bundle: () => "the bundle", logger, lookMs: 10 });
}

async function afterAnotherLook(): Promise<void> {
  const before = looks;
  await until("the files were read again, and that look has ended", () => looks > before + 1);
}

interface Answer {
  readonly status: number;
  readonly text: string;
  readonly etag: string;
  /** The PEM of the certificate that the server proved itself by. */
  readonly certificate: string;
}

function ask(method = "GET", headers: Readonly<Record<string, string>> = {}): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const options = { host: "127.0.0.1", port: endpoint?.port ?? 0, ca: ca.rootPem, agent: false as const, method, headers };
    const call = request(options, (response) => {
      const certificate = (response.socket as TLSSocket).getPeerX509Certificate()?.toString() ?? "";
      const { etag = "" } = response.headers;
      let text = "";
      response.setEncoding("utf8").on("data", (more: string) => {
        text += more;
      });
      response.on("end", () => resolve({ status: response.statusCode ?? 0, text, etag, certificate }));
    });
    call.on("error", reject).end();
  });
}

const lines = (pem: string) => pem.replaceAll(/\s/g, "");

beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "endpoint-"));
  logger = new RecordingLogger();
  looks = 0;
});
afterEach(() => {
  endpoint?.close();
  endpoint = undefined;
  rmSync(folder, { recursive: true });
});

describe("the bundle endpoint", () => {
  beforeEach(async () => {
    const { key, chain } = newPair();
    write("key", key);
    write("chain", chain);
    await serve();
  });

  test("gives the bundle to whoever asks, and says when it is still the same", async () => {
    const { status, text, etag } = await ask();
    assert.deepEqual([status, text], [200, "the bundle"]);
    assert.deepEqual(Object.values(await ask("GET", { "if-none-match": etag })).slice(0, 2), [304, ""]);
    assert.equal((await ask("GET", { "if-none-match": '"another"' })).status, 200);
    for (const method of ["POST", "PUT", "DELETE"]) assert.equal((await ask(method)).status, 405);
  });

  test("proves itself by new files when both are there; until then by the pair before", async () => {
    const before = (await ask()).certificate;
    const next = newPair();
    write("chain", next.chain);
    await afterAnotherLook();
    assert.equal((await ask()).certificate, before);
    write("key", next.key);
    await until("the new certificate is in force", async () => lines((await ask()).certificate) === lines(next.chain));
    assert.deepEqual(logger.messages.slice(1), []);
  });

  test("goes on with the pair before while the files are broken, tells of it once, and takes up what comes after", async () => {
    const before = (await ask()).certificate;
    for (const broken of ["", "-----BEGIN CERTIFICATE-----\nMIIB", newPair().chain]) {
      write("chain", broken);
      await afterAnotherLook();
      assert.equal((await ask()).certificate, before);
    }
    rmSync(path("key"));
    await logger.line("the bundle endpoint's certificate cannot be taken, the one before stays");
    await afterAnotherLook();
    assert.equal((await ask()).certificate, before);
    const next = newPair();
    write("key", next.key);
    write("chain", next.chain);
    await until("the new certificate is in force", async () => lines((await ask()).certificate) === lines(next.chain));
    assert.equal(logger.lines.length, 1);
  });
});

test("a bundle endpoint does not start with a certificate that is not its key's", async () => {
  write("key", newPair().key);
  write("chain", newPair().chain);
  await assert.rejects(serve(), { code: "invalid-configuration", message: /for another key/ });
});
