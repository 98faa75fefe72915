/**
 * Agents that all start at one moment, each with a key, a token and a connection of its own, against a `garrison serve` of default flags; then all of
 * them renew at one moment. How long until the last has its certificate, how often they asked, and what the server's memory came to.
 * `node bench/storm.ts [AGENTS]`: 10,000 without a number.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as sleep } from "node:timers/promises";
import { createCertificateClient } from "../src/agent/certificate-client.ts";
import { CertificateManager } from "../src/agent/certificate-manager.ts";
import { systemTimers } from "../src/agent/timers.ts";
import { fixedToken } from "../src/agent/token-source.ts";
import { systemClock } from "../src/core/clock.ts";
import { silentLogger } from "../src/core/logger.ts";
import { readControlPlaneFile } from "../src/server/files.ts";
import { inSeconds, SigningKey } from "../test/fixture/tokens.ts";
import { print } from "./harness.ts";

const AGENTS = Number(process.argv[2] ?? 10_000);
const PER_FILE = 1_000;
const LAUNCHER = join(import.meta.dirname, "..", "bin", "garrison.mjs");

const folder = mkdtempSync(join(tmpdir(), "garrison-storm-"));
const state = join(folder, "state");
const key = new SigningKey("k1");
const names = Array.from({ length: AGENTS }, (_, index) => `agent-${index}`);

/** The mesh with an account for each agent, and an issuer of their tokens. */
function writeFiles(): readonly string[] {
  const mesh = join(folder, "mesh");
  mkdirSync(mesh);
  writeFileSync(join(mesh, "fleet.yaml"), "apiVersion: v1\nkind: Namespace\nmetadata: { name: fleet }\n");
  const account = (name: string) => `apiVersion: v1\nkind: ServiceAccount\nmetadata: { name: ${name}, namespace: fleet }\n`;
  for (let first = 0; first < AGENTS; first += PER_FILE)
    writeFileSync(
      join(mesh, `agents-${first}.yaml`),
      names
        .slice(first, first + PER_FILE)
        .map(account)
        .join("---\n"),
    );
  const issuers = join(folder, "issuers.yaml");
  const jwks = JSON.stringify({ keys: [key.jwk()] });
  const accounts = [{ when: { iss: "https://fleet" }, account: "fleet/{sub}" }];
  const issuer = { name: "fleet", kind: "oidc", issuer: "https://fleet", audiences: ["istio-ca"], jwks, accounts };
  writeFileSync(issuers, JSON.stringify({ issuers: [issuer] }), { mode: 0o600 });
  return ["--config", mesh, "--issuers", issuers, "--state", state, "--listen", "127.0.0.1:0", "--log-level", "error"];
}

/** Bytes: the most that a process has ever had, and what it has (proc(5)). */
function memoryOf(pid: number): { readonly most: number; readonly now: number } {
  const text = readFileSync(`/proc/${pid}/status`, "utf8");
  const of = (name: string) => Number(new RegExp(`${name}:\\s+(\\d+) kB`).exec(text)?.[1]) * 1024;
  return { most: of("VmHWM"), now: of("VmRSS") };
}

const MB = 1_000_000;
const server = spawn(process.execPath, [LAUNCHER, "serve", ...writeFiles()], { stdio: ["ignore", "inherit", "inherit"] });
try {
  let controlPlane: ReturnType<typeof readControlPlaneFile> | undefined;
  while (controlPlane === undefined) {
    await sleep(50);
    try {
      controlPlane = readControlPlaneFile(state);
    } catch {
      if (server.exitCode !== null) throw new Error("the control plane has ended");
    }
  }
  const { host, port, identity, rootCertificate, pid } = controlPlane;
  const idle = memoryOf(pid).now;
  let attempts = 0;
  const managers = names.map((name) => {
    const token = fixedToken(key.token({ iss: "https://fleet", aud: "istio-ca", exp: inSeconds(3600), sub: name }));
    const request = createCertificateClient({
      identity: `spiffe://cluster.local/ns/fleet/sa/${name}`,
      controlPlane: { address: host, port, identity },
      rootCertificateFile: rootCertificate,
      token,
      ttlSeconds: 0,
      clock: systemClock,
    });
    const counted: typeof request = (current) => {
      attempts += 1;
      return request(current);
    };
    return new CertificateManager({
      request: counted,
      clock: systemClock,
      timers: systemTimers,
      random: Math.random,
      logger: silentLogger,
    });
  });

  /** Until every agent has a certificate that it has not had before; seconds for half of them, for 99 in 100, and for the last. */
  const wave = async (what: string, begin: (manager: CertificateManager) => void): Promise<void> => {
    const began = performance.now();
    attempts = 0;
    const times: number[] = [];
    const all = managers.map(
      (manager) =>
        new Promise<void>((resolve) => {
          const cancel = manager.subscribe(() => {
            cancel();
            times.push((performance.now() - began) / 1000);
            resolve();
          });
        }),
    );
    for (const manager of managers) begin(manager);
    await Promise.all(all);
    const at = (share: number) => Number((times[Math.ceil(times.length * share) - 1] ?? Number.NaN).toFixed(1));
    const memory = memoryOf(pid);
    print({
      bench: "storm",
      what,
      agents: AGENTS,
      seconds: { half: at(0.5), p99: at(0.99), last: at(1) },
      perSecond: Math.round(AGENTS / at(1)),
      attemptsEach: Number((attempts / AGENTS).toFixed(2)),
      serverMB: { idle: Math.round(idle / MB), most: Math.round(memory.most / MB), after: Math.round(memory.now / MB) },
    });
  };
  // Timers of agents keep no process alive.
  const alive = setInterval(() => undefined, 1_000);
  await wave("all start", (manager) => manager.start());
  await wave("all renew", (manager) => void manager.renew().catch(() => undefined));
  for (const manager of managers) manager.stop();
  clearInterval(alive);
} finally {
  server.kill();
  if (server.exitCode === null && server.signalCode === null) await once(server, "exit");
  rmSync(folder, { recursive: true });
}
