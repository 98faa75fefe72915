/** A folder of YAML, a state folder, and the control plane on them. */
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { callAdmin } from "../../src/cli/admin-client.ts";
import type { StatusAnswer } from "../../src/cli/status.ts";
import { type ControlPlaneFile, readControlPlaneFile } from "../../src/server/files.ts";
import { until } from "../fakes/processes.ts";
import { GarrisonProcess, garrison, type Result, type Scope, type SpawnOptions } from "./garrison.ts";

/** Runs what it was given at the end of its own scope, the last first: processes end before their folder goes. */
function reversed(scope: Scope): Scope {
  const cleanups: (() => unknown)[] = [];
  scope.after(async () => {
    for (const clean of cleanups.reverse()) await clean();
  });
  return { after: (clean) => void cleanups.push(clean) };
}

export class Place implements Scope {
  readonly folder: string;
  readonly config: string;
  readonly state: string;
  readonly #scope: Scope;

  /** A new folder with these YAML files; everything ends and goes with `scope`. */
  constructor(scope: Scope, files: Readonly<Record<string, string>> = {}) {
    this.#scope = reversed(scope);
    // Short, since Unix sockets lie below it.
    this.folder = mkdtempSync(join(tmpdir(), "gf-"));
    this.#scope.after(() => rmSync(this.folder, { recursive: true, force: true }));
    this.config = join(this.folder, "mesh");
    this.state = join(this.folder, "state");
    mkdirSync(this.config);
    for (const [name, text] of Object.entries(files)) this.write(name, text);
  }

  /** Runs `clean` at the end, before the folder goes. */
  after(clean: () => unknown): void {
    this.#scope.after(clean);
  }

  /** Writes a file of the configuration. */
  write(name: string, text: string): void {
    writeFileSync(join(this.config, name), text);
  }

  read(name: string): string {
    return readFileSync(join(this.config, name), "utf8");
  }

  remove(name: string): void {
    rmSync(join(this.config, name));
  }

  /** Runs a command on this state folder to its end. */
  run(...args: readonly string[]): Promise<Result> {
    return garrison([...args, "--state", this.state]);
  }

  /** Starts a command on this state folder; `rest` follows `--`. */
  start(args: readonly string[], rest: readonly string[] = [], options: SpawnOptions = {}): GarrisonProcess {
    const own = [...args, "--state", this.state, ...(rest.length === 0 ? [] : ["--", ...rest])];
    return new GarrisonProcess(this.#scope, own, options);
  }

  /** Starts the control plane and waits until it serves, on a free port unless told otherwise. */
  async serve(listen = "127.0.0.1:0", flags: readonly string[] = []): Promise<GarrisonProcess> {
    const process = this.start(["serve", "--config", this.config, "--listen", listen, ...flags]);
    await process.line(/ control plane serves /);
    return process;
  }

  /** How to reach the control plane. */
  controlPlane(): ControlPlaneFile {
    return readControlPlaneFile(this.state);
  }

  /** What `garrison status --json` prints, without a process for each question. */
  async status(): Promise<StatusAnswer> {
    return (await callAdmin(this.controlPlane().adminSocket, "GET", "/v1/status")) as StatusAnswer;
  }

  /** Asks for the status until it is as wanted. */
  async untilStatus(what: string, holds: (status: StatusAnswer) => boolean): Promise<StatusAnswer> {
    let status: StatusAnswer | undefined;
    await until(what, async () => {
      status = await this.status();
      return holds(status);
    });
    if (status === undefined) throw new Error("unreachable");
    return status;
  }
}
