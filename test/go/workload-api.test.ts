/** The Workload API with clients that others wrote: go-spiffe, spiffe-helper, grpcurl; and OpenSSL on what they were given. */
import assert from "node:assert/strict";
import { type ChildProcess, execFile, execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { promisify } from "node:util";
import { callAdmin } from "../../src/cli/admin-client.ts";
import { until } from "../fakes/processes.ts";
import { CLIENT, meshFiles, UNUSED_PORTS } from "../feature/mesh.ts";
import { Place } from "../feature/place.ts";

const IDENTITY = "spiffe://cluster.local/ns/shop/sa/client";
const TOOLS = process.env.GARRISON_GO_TOOLS ?? "";
const skip = TOOLS === "" && process.env.GARRISON_REQUIRE_GO !== "1" ? "there are no Go tools" : false;
const execute = promisify(execFile);

describe("the Workload API", { skip, timeout: 180_000 }, () => {
  const place = new Place({ after }, meshFiles(UNUSED_PORTS));
  const socket = join(place.state, "run", "shop.client", "workload.sock");
  const env = { ...process.env, SPIFFE_ENDPOINT_SOCKET: `unix://${socket}` };
  before(async () => {
    await place.serve();
    const agent = place.start(["run", "--workload", CLIENT, "--proxy", "none"]);
    await agent.line(/certificate received/);
  });

  const renew = async () =>
    ((await callAdmin(join(place.state, "run", "shop.client", "agent.sock"), "POST", "/renew")) as { readonly serial: string }).serial;
  /** What go-spiffe's program says, a JSON object for each line. */
  const goSpiffe = async (...args: readonly string[]): Promise<Readonly<Record<string, unknown>>> => {
    const { stdout } = await execute(join(TOOLS, "spiffe-client"), args, { env, timeout: 60_000 });
    return JSON.parse(stdout) as Readonly<Record<string, unknown>>;
  };
  const grpcurl = (...args: readonly string[]) =>
    execute(
      join(TOOLS, "grpcurl"),
      [
        "-plaintext",
        "-import-path",
        "proto",
        "-proto",
        "spiffe/workload/workload.proto",
        "-max-time",
        "20",
        ...args.slice(0, -1),
        `unix://${socket}`,
        args.at(-1) ?? "",
      ],
      { timeout: 60_000 },
    ).then(
      ({ stdout }) => stdout,
      (error: { readonly stdout: string; readonly stderr: string }) => error.stdout + error.stderr,
    );

  test("gives go-spiffe a certificate that leads to the bundle, and each renewal as it comes", async () => {
    const watcher = spawn(join(TOOLS, "spiffe-client"), ["watch-x509"], { env, stdio: ["ignore", "pipe", "inherit"] });
    const lines = linesOf(watcher);
    try {
      const first = await lines.next();
      assert.deepEqual([first.id, first.domains, first.signed], [IDENTITY, 1, true]);
      const serial = await renew();
      const second = await lines.next();
      assert.deepEqual([second.id, second.serial, second.signed], [IDENTITY, serial, true]);
    } finally {
      watcher.kill("SIGKILL");
      await once(watcher, "close");
    }
  });

  test("gives go-spiffe what two programs need to prove themselves to one another by mutual TLS", async () => {
    assert.deepEqual(await goSpiffe("mtls", IDENTITY), { said: "hello" });
    // Told by the end that refuses, or by the other that is refused.
    await assert.rejects(goSpiffe("mtls", "spiffe://cluster.local/ns/shop/sa/server"), /unexpected ID|remote error: tls: bad certificate/);
  });

  test("gives go-spiffe JWT-SVIDs, which its own validation and the agent's find good for their audience alone", async () => {
    const { id, token, audience, seconds } = await goSpiffe("jwt", "vault");
    assert.deepEqual([id, audience], [IDENTITY, ["vault"]]);
    assert.ok(Number(seconds) > 120 && Number(seconds) <= 300, String(seconds));
    assert.deepEqual(await goSpiffe("validate", "vault", String(token)), { agent: IDENTITY, library: IDENTITY });
    const other = await goSpiffe("validate", "db", String(token));
    assert.match(String(other.agent), /InvalidArgument.*another audience/);
    assert.match(String(other.library), /audience/);
    const [head, claims] = String(token).split(".");
    const forged = await goSpiffe("validate", "vault", `${head}.${claims}.${"A".repeat(86)}`);
    assert.match(String(forged.agent), /InvalidArgument.*signature/);
    assert.match(String(forged.library), /cryptographic/);
  });

  test("gives spiffe-helper files that belong together, on which OpenSSL agrees", async () => {
    const folder = join(place.folder, "files");
    mkdirSync(folder);
    const config = join(place.folder, "helper.conf");
    const names = 'svid_file_name = "svid.pem"\nsvid_key_file_name = "key.pem"\nsvid_bundle_file_name = "bundle.pem"\n';
    writeFileSync(config, `agent_address = "${socket}"\ncert_dir = "${folder}"\ndaemon_mode = false\n${names}`);
    await execute(join(TOOLS, "spiffe-helper"), ["-config", config], { timeout: 60_000 });
    const path = (name: string) => join(folder, name);
    const openssl = (...args: readonly string[]) => execFileSync("openssl", args, { encoding: "utf8" });
    assert.match(openssl("verify", "-x509_strict", "-purpose", "sslclient", "-CAfile", path("bundle.pem"), path("svid.pem")), /: OK/);
    assert.match(openssl("x509", "-in", path("svid.pem"), "-noout", "-ext", "subjectAltName"), new RegExp(`URI:${IDENTITY}`));
    assert.equal(openssl("pkey", "-in", path("key.pem"), "-pubout"), openssl("x509", "-in", path("svid.pem"), "-noout", "-pubkey"));
    assert.match(readFileSync(path("key.pem"), "utf8"), /^-----BEGIN PRIVATE KEY-----/);
  });

  test("answers grpcurl by the protocol, and by the specification's codes where it asks wrongly", async () => {
    const header = ["-H", "workload.spiffe.io: true"];
    const api = "SpiffeWorkloadAPI";
    assert.match(await grpcurl(...header, "-d", '{"audience":["vault"]}', `${api}/FetchJWTSVID`), new RegExp(`"spiffeId": "${IDENTITY}"`));
    assert.match(await grpcurl(...header, "-max-time", "2", `${api}/FetchX509Bundles`), /"spiffe:\/\/cluster\.local": "/);
    assert.match(await grpcurl("-d", '{"audience":["vault"]}', `${api}/FetchJWTSVID`), /Code: InvalidArgument/);
    assert.match(await grpcurl("-max-time", "5", `${api}/FetchX509SVID`), /Code: InvalidArgument/);
    assert.match(await grpcurl(...header, `${api}/FetchJWTSVID`), /Code: InvalidArgument/);
    const other = '{"audience":["vault"],"spiffe_id":"spiffe://cluster.local/ns/shop/sa/server"}';
    assert.match(await grpcurl(...header, "-d", other, `${api}/FetchJWTSVID`), /Code: PermissionDenied/);
  });

  test("serves many programs of go-spiffe at once", async () => {
    const answers = await Promise.all(Array.from({ length: 8 }, (_, index) => goSpiffe("jwt", `audience-${index % 3}`)));
    assert.deepEqual(new Set(answers.map(({ id }) => id)), new Set([IDENTITY]));
    await until("their streams and calls have ended", async () => {
      const { workloadApi } = (await callAdmin(join(place.state, "run", "shop.client", "agent.sock"), "GET", "/status")) as {
        readonly workloadApi: { readonly streams: number };
      };
      return workloadApi.streams === 0;
    });
  });
});

interface JsonLines {
  next(): Promise<Readonly<Record<string, unknown>>>;
}

/** A program's output, a JSON object for each line. */
function linesOf(child: ChildProcess): JsonLines {
  let text = "";
  const look = new Set<() => void>();
  child.stdout?.setEncoding("utf8").on("data", (more: string) => {
    text += more;
    for (const each of look) each();
  });
  let taken = 0;
  return {
    next: async () => {
      const { promise, resolve, reject } = Promise.withResolvers<Readonly<Record<string, unknown>>>();
      const timer = setTimeout(() => reject(new Error(`no further line:\n${text}`)), 20_000);
      const find = (): void => {
        const line = text.split("\n").slice(0, -1)[taken];
        if (line !== undefined) resolve(JSON.parse(line) as Readonly<Record<string, unknown>>);
      };
      look.add(find);
      find();
      const found = await promise;
      look.delete(find);
      clearTimeout(timer);
      taken += 1;
      return found;
    },
  };
}
