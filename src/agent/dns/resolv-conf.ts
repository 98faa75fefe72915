/** The machine's own resolver configuration (resolv.conf(5)): whom to ask, and what is appended to names. */
import { readFileSync, statSync } from "node:fs";
import { isIP } from "node:net";
import type { Logger } from "../../core/logger.ts";

export interface DnsServer {
  readonly address: string;
  readonly port: number;
}

export interface ResolverConfiguration {
  readonly servers: readonly DnsServer[];
  /** Appended to names, the first of them first; lower case, no dot at the end. */
  readonly search: readonly string[];
}

/** Of systemd-resolved, when it stands in for the real servers: they are here. */
const SYSTEMD_STUB = "127.0.0.53";
const SYSTEMD_SERVERS = "/run/systemd/resolve/resolv.conf";

const DNS_PORT = 53;
/** As many as the C library takes, and a few search domains more (RFC 1123 leaves it open). */
const MAX_SERVERS = 3;
const MAX_SEARCH = 32;
const MAX_BYTES = 64 * 1024;
/** A file that has changed is seen so soon. */
const LOOK_MS = 2_000;

/** What a file says. Lines that are none of it mean nothing, as they do to the C library. */
export function parseResolvConf(text: string): ResolverConfiguration {
  const servers: DnsServer[] = [];
  let search: readonly string[] = [];
  for (const line of text.slice(0, MAX_BYTES).split("\n")) {
    const [keyword, ...values] = line
      .replace(/[#;].*$/, "")
      .trim()
      .split(/\s+/);
    const [first = ""] = values;
    if (keyword === "nameserver" && isIP(first.split("%")[0] ?? "") !== 0) servers.push({ address: first, port: DNS_PORT });
    // The last of them counts.
    if (keyword === "search" || keyword === "domain") search = (keyword === "domain" ? [first] : values).filter((domain) => domain !== "");
  }
  return { servers, search: search.slice(0, MAX_SEARCH).map((domain) => domain.toLowerCase().replace(/\.$/, "")) };
}

function isLoopback(address: string): boolean {
  return address.startsWith("127.") || address === "::1";
}

function readText(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch {
    return "";
  }
}

/** What is in force of a file: read again when it has changed. */
export class ResolvConf {
  readonly #file: string;
  readonly #systemdServers: string;
  readonly #now: () => number;
  readonly #logger: Logger;
  #stamp = "";
  #lookedAt = Number.NEGATIVE_INFINITY;
  #current: ResolverConfiguration = { servers: [], search: [] };

  constructor(file: string, now: () => number, logger: Logger, systemdServers = SYSTEMD_SERVERS) {
    this.#file = file;
    this.#systemdServers = systemdServers;
    this.#now = now;
    this.#logger = logger;
  }

  get current(): ResolverConfiguration {
    const now = this.#now();
    if (now - this.#lookedAt < LOOK_MS) return this.#current;
    this.#lookedAt = now;
    const stamp = [this.#file, this.#systemdServers].map((file) => this.#stampOf(file)).join();
    if (stamp !== this.#stamp) this.#read(stamp);
    return this.#current;
  }

  #stampOf(file: string): string {
    const stat = statSync(file, { throwIfNoEntry: false });
    return stat === undefined ? "" : `${stat.ino} ${stat.mtimeMs} ${stat.size}`;
  }

  /** A server on loopback would ask on port 53 in its turn, and so ask here, for ever. */
  #read(stamp: string): void {
    this.#stamp = stamp;
    const { servers: named, search } = parseResolvConf(readText(this.#file));
    const real = named.some(({ address }) => address === SYSTEMD_STUB) ? parseResolvConf(readText(this.#systemdServers)).servers : named;
    const servers = real.filter(({ address }) => !isLoopback(address)).slice(0, MAX_SERVERS);
    this.#current = { servers, search };
    const fields = { file: this.#file, servers: servers.map(({ address }) => address).join() };
    if (servers.length > 0) this.#logger.log("info", "names outside the mesh are asked of the machine's DNS servers", fields);
    else
      this.#logger.log("warn", "no DNS server is known: names outside the mesh are not answered", {
        ...fields,
        help: "a server on loopback would ask here again: name the true one in a file for --resolv-conf",
      });
  }
}
