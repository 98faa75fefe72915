/**
 * The Secrets that gateways name, each watched by itself: no right to read Secrets in general is asked for or needed, and what no
 * gateway names is never seen.
 */
import type { Diagnostic } from "../../core/diagnostic.ts";
import { inTurns } from "../../core/in-turns.ts";
import type { Logger } from "../../core/logger.ts";
import type { KubernetesApi } from "./api.ts";
import { Reflector, type ReflectorOptions } from "./reflector.ts";
import { secretKind, type WatchedKind } from "./watched-kinds.ts";

/** Istio's ending of the name of a Secret with the CA alone (SN-8). */
const CA_SUFFIX = "-cacert";

/** As many watches are opened at the most, of each namespace one after the other: whoever names many in one leaves the others theirs. */
const MAX_SECRETS = 500;

export interface SecretWatchesOptions {
  readonly api: KubernetesApi;
  readonly logger: Logger;
  /** After each change, and when one cannot be read. */
  readonly onChange: () => void;
  readonly limits?: ReflectorOptions["limits"];
}

interface SecretWatch {
  readonly kind: WatchedKind;
  readonly reflector: Reflector;
}

export class SecretWatches {
  readonly #options: SecretWatchesOptions;
  readonly #watches = new Map<string, SecretWatch>();
  readonly #closing = new Set<Promise<void>>();
  #left: readonly string[] = [];

  constructor(options: SecretWatchesOptions) {
    this.#options = options;
  }

  /**
   * Those that can be used. A Secret beside which there may be another with its CA counts only once that is known: else the CA
   * of the one would be asked of clients where that of the other should.
   */
  get usable(): readonly SecretWatch[] {
    const isUnread = (name: string): boolean => this.#watches.has(name) && this.#watches.get(name)?.reflector.objects === undefined;
    return [...this.#watches].filter(([name]) => !isUnread(name + CA_SUFFIX)).map(([, watch]) => watch);
  }

  /** Secrets that cannot be read, and why. */
  get diagnostics(): readonly Diagnostic[] {
    const unread = [...this.#watches].flatMap(([name, { reflector }]): Diagnostic[] => {
      const { problem, objects } = reflector;
      return problem === undefined || (objects !== undefined && objects.size > 0) ? [] : [unreadable(name, problem)];
    });
    return [...unread, ...this.#left.map((name) => unreadable(name, `more than ${MAX_SECRETS} are named`))];
  }

  /** Watches exactly these, by `NAMESPACE/NAME`. */
  want(names: ReadonlySet<string>): void {
    const sorted = inTurns([...names].sort(), (name) => name.split("/", 1)[0] ?? "");
    const wanted = new Set(sorted.slice(0, MAX_SECRETS));
    this.#left = sorted.slice(MAX_SECRETS);
    const gone = [...this.#watches].filter(([name]) => !wanted.has(name));
    for (const [name] of gone) this.#watches.delete(name);
    for (const name of wanted) if (!this.#watches.has(name)) this.#watches.set(name, this.#watch(name));
    for (const [, { reflector }] of gone) {
      const closing = reflector.close().finally(() => this.#closing.delete(closing));
      this.#closing.add(closing);
    }
    if (gone.length > 0) this.#options.onChange();
  }

  /** Nothing is called once it resolves. */
  async close(): Promise<void> {
    this.want(new Set());
    await Promise.all(this.#closing);
  }

  #watch(name: string): SecretWatch {
    const { api, logger, onChange, limits } = this.#options;
    const [namespace = "", secret = ""] = name.split("/");
    const kind = secretKind(namespace, secret);
    const more = limits === undefined ? {} : { limits };
    return { kind, reflector: new Reflector({ api, kind, logger, onChange, onProblem: onChange, ...more }) };
  }
}

function unreadable(name: string, reason: string): Diagnostic {
  const [namespace = "", secret = ""] = name.split("/");
  return {
    code: "GAR0220",
    message: `Secret \`${name}\`, which a gateway names, cannot be read: ${reason}`,
    place: { file: `Secret ${name}`, line: 0, column: 0 },
    help: `give the control plane's account a Role in namespace \`${namespace}\` for get, list and watch of the Secret \`${secret}\` (deploy/kubernetes/gateway-secrets.yaml)`,
  };
}
