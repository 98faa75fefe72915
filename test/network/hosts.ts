/** Hosts of a network of their own: a namespace each, joined by a bridge. Names are the machine's, so they end in random digits. */
import { type ChildProcess, execFile, execFileSync, spawn } from "node:child_process";
import { randomBytes } from "node:crypto";
import { once } from "node:events";
import { mkdirSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { until } from "../fakes/processes.ts";
import type { Result, Scope } from "../feature/garrison.ts";

const TIMEOUT_MS = 30_000;
const MAX_BYTES = 16 * 1024 * 1024;

/** A process in a host, which ends with its scope. */
export interface HostProcess {
  readonly pid: number;
  /** All that it has written so far. */
  output(): string;
  stop(): Promise<void>;
}

export class Host {
  readonly name: string;
  readonly address: string;
  /** Its address of IPv6, in a network of both families; empty in others. */
  readonly address6: string;
  readonly #namespace: string;
  readonly #scope: Scope;

  constructor(scope: Scope, namespace: string, name: string, address: string, address6 = "") {
    this.#scope = scope;
    this.#namespace = namespace;
    this.name = name;
    this.address = address;
    this.address6 = address6;
  }

  /** Whom programs here ask for names (resolv.conf(5)); of those that start from now on. */
  resolvesBy(text: string): void {
    const folder = join("/etc/netns", this.#namespace);
    mkdirSync(folder, { recursive: true });
    this.#scope.after(() => rmSync(folder, { recursive: true, force: true }));
    writeFileSync(join(folder, "resolv.conf"), text);
  }

  /** What runs a program here, as root or as another user. */
  prefix(uid?: number): readonly string[] {
    const user = uid === undefined ? [] : ["setpriv", `--reuid=${uid}`, `--regid=${uid}`, "--clear-groups"];
    return ["ip", "netns", "exec", this.#namespace, ...user];
  }

  /** Runs a program to its end; its exit status, or the signal that ended it. */
  run(argv: readonly string[], options: { readonly uid?: number; readonly input?: string } = {}): Promise<Result> {
    const [program = "", ...args] = [...this.prefix(options.uid), ...argv];
    return new Promise((resolve) => {
      const child = execFile(program, args, { timeout: TIMEOUT_MS, maxBuffer: MAX_BYTES }, (error, stdout, stderr) => {
        const exit = error === null ? 0 : typeof error.code === "number" ? error.code : (error.signal ?? "SIGKILL");
        resolve({ exit, stdout, stderr });
      });
      // A program that reads nothing may have ended before.
      child.stdin?.on("error", () => undefined);
      child.stdin?.end(options.input ?? "");
    });
  }

  /** Starts a program that stays. */
  start(argv: readonly string[], options: { readonly uid?: number; readonly env?: Readonly<Record<string, string>> } = {}): HostProcess {
    const [program = "", ...args] = [...this.prefix(options.uid), ...argv];
    const child: ChildProcess = spawn(program, args, { stdio: ["ignore", "pipe", "pipe"], env: { ...process.env, ...options.env } });
    let output = "";
    for (const stream of [child.stdout, child.stderr]) stream?.setEncoding("utf8").on("data", (text: string) => (output += text));
    const ended = once(child, "exit");
    const stop = async (): Promise<void> => {
      child.kill("SIGKILL");
      await ended;
    };
    this.#scope.after(stop);
    return { pid: child.pid ?? 0, output: () => output, stop };
  }

  /** Waits until something listens at the port. */
  async listening(port: number): Promise<void> {
    const hex = port.toString(16).toUpperCase().padStart(4, "0");
    await until(`${this.name} listens on ${port}`, async () => {
      const { stdout } = await this.run(["cat", "/proc/net/tcp", "/proc/net/tcp6"]);
      return new RegExp(`:${hex} [0-9A-F]+:0000 0A `).test(stdout);
    });
  }

  /** What `curl` prints of an answer: its status, then its body; 000 where there is none. */
  async curl(url: string, ...options: readonly string[]): Promise<string> {
    const { stdout } = await this.run(["curl", "-s", "-m", "10", "-w", "\n%{http_code}", ...options, url]);
    const lines = stdout.split("\n");
    return [lines.at(-1), ...lines.slice(0, -1)].join(" ").trim();
  }
}

function ip(...args: readonly string[]): void {
  execFileSync("ip", args, { stdio: ["ignore", "ignore", "pipe"] });
}

/** A network `10.77.0.0/24` with these hosts, the first at `.1`; with `dual` also `fd77::/64`. Everything goes with `scope`. */
export function network<Name extends string>(
  scope: Scope,
  names: readonly Name[],
  { dual = false }: { readonly dual?: boolean } = {},
): Readonly<Record<Name, Host>> {
  const prefix = `gt${randomBytes(4).toString("hex")}`;
  const add = (name: string): string => {
    const namespace = `${prefix}-${name}`;
    ip("netns", "add", namespace);
    scope.after(() => ip("netns", "del", namespace));
    ip("-n", namespace, "link", "set", "lo", "up");
    return namespace;
  };
  const bridge = add("bridge");
  ip("-n", bridge, "link", "add", "br0", "type", "bridge");
  ip("-n", bridge, "link", "set", "br0", "up");
  const hosts = names.map((name, index): [Name, Host] => {
    const namespace = add(name);
    const address = `10.77.0.${index + 1}`;
    ip("-n", bridge, "link", "add", `v${index}`, "type", "veth", "peer", "name", "eth0", "netns", namespace);
    ip("-n", bridge, "link", "set", `v${index}`, "master", "br0", "up");
    ip("-n", namespace, "address", "add", `${address}/24`, "dev", "eth0");
    ip("-n", namespace, "link", "set", "eth0", "up");
    // Services have addresses that are nowhere.
    ip("-n", namespace, "route", "add", "default", "via", "10.77.0.254");
    if (!dual) return [name, new Host(scope, namespace, name, address)];
    const address6 = `fd77::${index + 1}`;
    ip("-n", namespace, "-6", "address", "add", `${address6}/64`, "dev", "eth0", "nodad");
    ip("-n", namespace, "-6", "route", "add", "default", "via", "fd77::fe", "dev", "eth0");
    return [name, new Host(scope, namespace, name, address, address6)];
  });
  return Object.fromEntries(hosts) as Record<Name, Host>;
}
