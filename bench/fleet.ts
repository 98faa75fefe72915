/** A `garrison serve` of default flags, in a folder of its own, with an account for each of many agents and an issuer of their tokens. */
import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { createCertificateClient } from "../src/agent/certificate-client.ts";
import type { RequestCertificate } from "../src/agent/certificate-manager.ts";
import { fixedToken } from "../src/agent/token-source.ts";
import { systemClock } from "../src/core/clock.ts";
import { type ControlPlaneFile, readControlPlaneFile } from "../src/server/files.ts";
import { inSeconds, SigningKey } from "../test/fixture/tokens.ts";
import { cpuMs, memoryOf } from "./process-usage.ts";

const PER_FILE = 1_000;
const LAUNCHER = join(import.meta.dirname, "..", "bin", "garrison.mjs");
const ISSUER = "https://fleet";

export class Fleet {
  /** Service accounts in the namespace `fleet`. */
  readonly names: readonly string[];
  readonly #folder = mkdtempSync(join(tmpdir(), "garrison-fleet-"));
  readonly #key = new SigningKey("k1");
  #server: ChildProcess | undefined;
  #controlPlane: ControlPlaneFile | undefined;

  /** The account of one of them, by its number. */
  static nameOf(index: number): string {
    return `agent-${index}`;
  }

  /** `objects`: what there is of each agent besides its account, as YAML. */
  constructor(size: number, objects: (name: string) => string = () => "") {
    this.names = Array.from({ length: size }, (_, index) => Fleet.nameOf(index));
    const mesh = join(this.#folder, "mesh");
    mkdirSync(mesh);
    writeFileSync(join(mesh, "fleet.yaml"), "apiVersion: v1\nkind: Namespace\nmetadata: { name: fleet }\n");
    const account = (name: string) =>
      `apiVersion: v1\nkind: ServiceAccount\nmetadata: { name: ${name}, namespace: fleet }\n${objects(name)}`;
    for (let first = 0; first < size; first += PER_FILE)
      writeFileSync(
        join(mesh, `agents-${first}.yaml`),
        this.names
          .slice(first, first + PER_FILE)
          .map(account)
          .join("---\n"),
      );
  }

  get controlPlane(): ControlPlaneFile {
    if (this.#controlPlane === undefined) throw new Error("the control plane has not been started");
    return this.#controlPlane;
  }

  identity(name: string): string {
    return `spiffe://cluster.local/ns/fleet/sa/${name}`;
  }

  async start(): Promise<void> {
    const issuers = join(this.#folder, "issuers.yaml");
    const accounts = [{ when: { iss: ISSUER }, account: "fleet/{sub}" }];
    const jwks = JSON.stringify({ keys: [this.#key.jwk()] });
    const issuer = { name: "fleet", kind: "oidc", issuer: ISSUER, audiences: ["istio-ca"], jwks, accounts };
    writeFileSync(issuers, JSON.stringify({ issuers: [issuer] }), { mode: 0o600 });
    const state = join(this.#folder, "state");
    const flags = ["--config", join(this.#folder, "mesh"), "--issuers", issuers, "--state", state, "--listen", "127.0.0.1:0"];
    const server = spawn(process.execPath, [LAUNCHER, "serve", ...flags, "--log-level", "error"], {
      stdio: ["ignore", "inherit", "inherit"],
    });
    this.#server = server;
    while (this.#controlPlane === undefined) {
      await sleep(50);
      if (server.exitCode !== null) throw new Error("the control plane has ended");
      try {
        this.#controlPlane = readControlPlaneFile(state);
      } catch {
        // Not yet.
      }
    }
  }

  /** A token of the account, good for an hour. */
  token(name: string): string {
    return this.#key.token({ iss: ISSUER, aud: "istio-ca", exp: inSeconds(3600), sub: name });
  }

  /** How an agent asks for its certificates, on a connection for each. */
  requestOf(name: string): RequestCertificate {
    const { host, port, identity, rootCertificate } = this.controlPlane;
    return createCertificateClient({
      identity: this.identity(name),
      controlPlane: { address: host, port, identity },
      rootCertificateFile: rootCertificate,
      token: fixedToken(this.token(name)),
      ttlSeconds: 0,
      clock: systemClock,
    });
  }

  /** Megabytes of the control plane: the most that it has ever had, and what it has. */
  memory(): { readonly most: number; readonly now: number } {
    const { most, now } = memoryOf(this.controlPlane.pid);
    return { most: Math.round(most / 1e6), now: Math.round(now / 1e6) };
  }

  /** Seconds of the control plane's CPU time so far. */
  cpu(): number {
    return cpuMs(this.controlPlane.pid) / 1000;
  }

  async stop(): Promise<void> {
    const server = this.#server;
    server?.kill();
    if (server !== undefined && server.exitCode === null && server.signalCode === null) await once(server, "exit");
    rmSync(this.#folder, { recursive: true });
  }
}
