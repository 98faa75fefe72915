/** What an agent got: its key is on no disk unless that was asked for, and OpenSSL can use what it wrote then. */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { mkdirSync, readdirSync, readFileSync } from "node:fs";
import { join, relative } from "node:path";
import { before, describe, test } from "node:test";
import type { Scope } from "./garrison.ts";
import { CLIENT, SERVER } from "./mesh.ts";
import { type ProxyFlags, Scene } from "./scene.ts";

export interface AgentCredentialsOptions {
  readonly skip?: string | false;
  /** The file's `after`. */
  readonly scope: Scope;
}

/** Of a P-256 key as PKCS #8 or SEC 1, in DER: what stands before its number. */
const DER_KEYS = ["308187020100301306072a8648ce3d020106082a8648ce3d030107046d306b0201010420", "30770201010420"].map((hex) =>
  Buffer.from(hex, "hex"),
);
/** The first bytes of these in base64, which a text without PEM's lines would have. */
const TEXT_KEYS = ["PRIVATE KEY", ...DER_KEYS.map((der) => der.subarray(0, der.length - (der.length % 3)).toString("base64"))];

function holdsKey(bytes: Buffer): boolean {
  return [...DER_KEYS, ...TEXT_KEYS].some((each) => bytes.includes(each));
}

/** Files below `folder` that hold a private key, sorted. */
function filesWithKeys(folder: string): readonly string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map(({ parentPath, name }) => join(parentPath, name))
    .filter((path) => holdsKey(readFileSync(path)))
    .map((path) => relative(folder, path))
    .sort();
}

/** Under one kind of proxy. */
export function describeAgentCredentials(name: string, flags: ProxyFlags, { skip = false, scope }: AgentCredentialsOptions): void {
  describe(`an agent's credentials, with ${name}`, { skip, timeout: 120_000 }, () => {
    const scene = new Scene(scope, flags);
    const path = (...names: readonly string[]) => join(scene.place.folder, ...names);
    /** The control plane's own. */
    const own = ["ca/ca-key.pem", "ca/log-key.pem", "jwt-svid-keys.json", "token-key.pem"].map((file) => `state/${file}`);

    /** An agent whose temporary files are below the place's folder too. */
    const startAgent = async (workload: string, ...more: readonly string[]) => {
      const agent = scene.place.start(["run", "--workload", workload, ...flags, ...more], [], { env: { TMPDIR: path("tmp") } });
      await agent.line(/ proxy ready /);
      return agent;
    };

    before(async () => {
      if (skip) return;
      mkdirSync(path("tmp"));
      await scene.prepare();
      await scene.startControlPlane();
      await startAgent(SERVER);
    });

    test("are in no file of its run, state and temporary folders, before and after a renewal", async () => {
      assert.deepEqual(filesWithKeys(scene.place.folder), own);
      await scene.renew(SERVER);
      assert.deepEqual(filesWithKeys(scene.place.folder), own);
    });

    test("are in the folder that was asked for, where OpenSSL takes them for a call of the server's proxy", async () => {
      await startAgent(CLIENT, "--output-certs", path("certs"));
      const files = filesWithKeys(scene.place.folder);
      const more = files.filter((file) => !own.includes(file));
      assert.ok(more.length > 0 && more.every((file) => /^certs\/.*key\.pem$/.test(file)), files.join(", "));
      const call = (...credentials: readonly string[]) =>
        new Promise<string>((resolve) => {
          const args = [
            "s_client",
            "-connect",
            `127.0.0.1:${scene.ports.inbound}`,
            "-CAfile",
            "root-cert.pem",
            "-verify_return_error",
            "-ign_eof",
          ];
          const child = execFile("openssl", [...args, ...credentials], { cwd: path("certs"), timeout: 20_000 }, (_error, stdout) =>
            resolve(stdout),
          );
          child.stdin?.on("error", () => undefined).end("GET /open HTTP/1.1\r\nHost: server\r\nConnection: close\r\n\r\n");
        });
      const answered = await call("-cert", "cert-chain.pem", "-cert_chain", "cert-chain.pem", "-key", "key.pem");
      assert.match(answered, /Verify return code: 0 \(ok\)/);
      assert.match(answered, /HTTP\/1\.1 200 /);
      assert.match(answered, /you asked for \/open/);
      assert.doesNotMatch(await call(), /HTTP\/1\.1 200/);
    });
  });
}
