/** The names of the mesh as an application writes them: whole, or by what of them goes without saying in its namespace. */
import { AppError } from "../../core/error.ts";
import type { NameTableChange } from "./names-messages.ts";

export class NameTable {
  readonly version: string;
  readonly #names: ReadonlyMap<string, readonly string[]>;
  readonly #domain: string;
  readonly #closed: boolean;

  private constructor({ version, domain, closed }: NameTableChange, names: ReadonlyMap<string, readonly string[]>) {
    this.version = version;
    this.#names = names;
    this.#domain = domain;
    this.#closed = closed;
  }

  /** The table that a change makes of an earlier one. Throws `invalid-argument` where it needs one and there is none. */
  static of(change: NameTableChange, before: NameTable | undefined): NameTable {
    if (change.whole) return new NameTable(change, change.names);
    if (before === undefined) throw new AppError("invalid-argument", "the control plane changes names that it has not sent");
    const names = new Map(before.#names);
    for (const host of change.removed) names.delete(host);
    for (const [host, addresses] of change.names) names.set(host, addresses);
    return new NameTable(change, names);
  }

  get size(): number {
    return this.#names.size;
  }

  /**
   * The addresses of a name (lower case, no dot at its end) that a workload of `namespace` asks for; undefined for none of the mesh's.
   * A service is also known as `NAME.NAMESPACE.svc` and `NAME.NAMESPACE`, and as `NAME` in its own namespace.
   *
   * Resolvers append the domains of `search` to names, and ask for what comes of it first. Whoever answers that may lie, so what
   * stands before such a domain is what was meant; after the first domain, whole names alone, and nothing is taken out of the mesh's own
   * domain: whoever names a host `pay.bank` does not answer for a service of `bank`.
   */
  lookup(name: string, namespace: string, search: readonly string[]): readonly string[] | undefined {
    const [first, ...others] = search;
    const own = `${namespace}.svc.${this.#domain}`;
    const written = [name, ...before(name, first === undefined ? [own] : [own, first])];
    const found = written.flatMap((each) => this.#forms(each, namespace)).find((host) => this.#names.has(host));
    const foreign = others.filter((domain) => domain !== this.#domain && !domain.endsWith(`.${this.#domain}`));
    const host = found ?? before(name, foreign).find((each) => this.#names.has(each));
    return host === undefined ? undefined : this.#names.get(host);
  }

  /** The hosts that a name may be short for. Only services have shorter forms, and they come first, as in a cluster's own DNS. */
  #forms(name: string, namespace: string): readonly string[] {
    const end = `.svc.${this.#domain}`;
    const services = [`${name}.${this.#domain}`, `${name}${end}`, `${name}.${namespace}${end}`].filter((host) => host.endsWith(end));
    return name.endsWith(end) ? [name, ...services] : [...services, name];
  }

  /** Whether nobody but the mesh has such a name: where it is not in the table, it is nowhere. */
  owns(name: string, search: readonly string[]): boolean {
    const ends = [this.#domain, "svc"];
    const written = [name, ...before(name, search)];
    return this.#closed && written.some((each) => ends.some((end) => each === end || each.endsWith(`.${end}`)));
  }
}

/** What stands before those of the domains that the name ends with. */
function before(name: string, domains: readonly string[]): readonly string[] {
  return domains.filter((domain) => name.endsWith(`.${domain}`)).map((domain) => name.slice(0, -domain.length - 1));
}
