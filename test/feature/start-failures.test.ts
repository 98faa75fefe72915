/** A control plane that cannot start: whichever step fails, nothing of it stays open. */
import assert from "node:assert/strict";
import { createHook } from "node:async_hooks";
import { once } from "node:events";
import { mkdirSync, readdirSync, readlinkSync, rmSync, writeFileSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { join } from "node:path";
import { after, before, describe, test } from "node:test";
import { silentLogger } from "../../src/core/logger.ts";
import { startControlPlane } from "../../src/server/control-plane.ts";
import type { ControlPlaneOptions } from "../../src/server/control-plane-options.ts";
import { until } from "../fakes/processes.ts";
import { SETTINGS } from "../fixture/objects.ts";
import { meshFiles, UNUSED_PORTS } from "./mesh.ts";
import { Place } from "./place.ts";

const place = new Place({ after }, meshFiles(UNUSED_PORTS));
const LOOPBACK = "127.0.0.1";
/** An address that somebody has. */
let taken: { readonly host: string; readonly port: number };

function options(state: string): ControlPlaneOptions {
  return {
    config: { kind: "folder", folder: place.config },
    state,
    listen: { host: LOOPBACK, port: 0 },
    settings: SETTINGS,
    version: "test",
    logger: silentLogger,
  };
}

const other = createServer();
after(() => other.close());
before(async () => {
  other.listen(0, LOOPBACK);
  await once(other, "listening");
  taken = { host: LOOPBACK, port: (other.address() as AddressInfo).port };
  // What a process has once, whatever it starts, is there from now on.
  await startAndStop(options(join(place.folder, "first")));
});

async function startAndStop(given: ControlPlaneOptions): Promise<void> {
  await (await startControlPlane(given)).close();
}

/** Timers, also those for which no process waits, watches of files, servers and connections. */
const TYPES: ReadonlySet<string> = new Set([
  "Timeout",
  "FSEVENTWRAP",
  "STATWATCHER",
  "TCPSERVERWRAP",
  "PIPESERVERWRAP",
  "TCPWRAP",
  "TLSWRAP",
]);

/** What of these begins while `run` runs, and has not ended. */
async function begunIn(run: () => Promise<unknown>): Promise<ReadonlyMap<number, string>> {
  const begun = new Map<number, string>();
  const hook = createHook({
    init: (id, type) => {
      if (TYPES.has(type)) begun.set(id, type);
    },
    destroy: (id) => void begun.delete(id),
  });
  const ends = createHook({ destroy: (id) => void begun.delete(id) }).enable();
  after(() => ends.disable());
  hook.enable();
  await run();
  hook.disable();
  return begun;
}

function openFiles(folder: string): readonly string[] {
  return readdirSync("/proc/self/fd").flatMap((fd) => {
    try {
      const path = readlinkSync(`/proc/self/fd/${fd}`);
      return path.startsWith(folder) ? [path] : [];
    } catch {
      return [];
    }
  });
}

interface Failure {
  readonly what: string;
  readonly told: RegExp;
  /** A file of the state folder in whose place something else is. */
  readonly file?: string;
  readonly options?: () => Partial<ControlPlaneOptions>;
}

/** A federation that is followed from then on. */
function federated(): Partial<ControlPlaneOptions> {
  const federation = join(place.folder, "federation.yaml");
  writeFileSync(federation, "federatesWith: []\n");
  return { federation };
}

const FAILURES: readonly Failure[] = [
  {
    what: "the configuration",
    told: /the policies of a file are unknown/,
    options: () => ({ config: { kind: "folder", folder: join(place.folder, "none") } }),
  },
  { what: "the ledger", told: /ledger\.sqlite/, file: "ca/ledger.sqlite" },
  { what: "the key of tokens", told: /token-key\.pem/, file: "token-key.pem" },
  { what: "join tokens", told: /join-tokens\.sqlite/, file: "join-tokens.sqlite" },
  { what: "the keys of JWT-SVIDs", told: /jwt-svid-keys\.json/, file: "jwt-svid-keys.json" },
  { what: "the record of JWT-SVIDs", told: /jwt-svids\.sqlite/, file: "jwt-svids.sqlite" },
  { what: "the issuers", told: /the file of issuers cannot be read/, options: () => ({ issuersFile: join(place.folder, "none.yaml") }) },
  { what: "the record of decisions", told: /audit\.sqlite/, file: "audit.sqlite" },
  {
    what: "the federation",
    told: /the federation's file cannot be read/,
    options: () => ({ federation: join(place.folder, "none.yaml") }),
  },
  { what: "the mesh's roots", told: /mesh-roots/, file: "mesh-roots", options: federated },
  { what: "the keys of issuers", told: /jwks/, file: "jwks", options: federated },
  { what: "the members of groups", told: /registrations\.json/, file: "registrations.json" },
  { what: "the bundle's number", told: /trust-bundle\.json/, file: "trust-bundle.json" },
  { what: "the port", told: /another process listens there already/, options: () => ({ listen: taken }) },
  { what: "the port of the revocation list", told: /EADDRINUSE/, options: () => ({ crlListen: taken }) },
  { what: "the bundle endpoint", told: /the bundle endpoint cannot listen/, options: () => ({ bundleEndpoint: { listen: taken } }) },
  { what: "the admin socket", told: /admin\.sock/, file: "admin.sock" },
  { what: "the word to the machine", told: /control-plane\.json/, file: "control-plane.json" },
];

describe("a start that fails leaves nothing open", { timeout: 120_000 }, () => {
  for (const [index, { what, told, file, options: more = () => ({}) }] of FAILURES.entries()) {
    test(`at ${what}`, async () => {
      const state = join(place.folder, `s${index}`);
      await startAndStop(options(state));
      if (file !== undefined) spoil(join(state, file));
      const begun = await begunIn(() => assert.rejects(startAndStop({ ...options(state), ...more() }), { message: told }));
      // A disk's answer is awaited before its file is closed.
      await until("its files are closed", () => openFiles(state).length === 0);
      await until(`nothing stays open: ${[...begun.values()].join()}`, () => begun.size === 0);
    });
  }
});

/** A file becomes a folder that is not empty, a folder becomes a file. */
function spoil(path: string): void {
  const isFolder = ["jwks", "mesh-roots"].some((name) => path.endsWith(name));
  rmSync(path, { recursive: true, force: true });
  if (isFolder) writeFileSync(path, "");
  else mkdirSync(join(path, "x"), { recursive: true });
}
