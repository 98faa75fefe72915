/** The proxy of one workload: its listeners, and the policy that they all read. */
import { isDeepStrictEqual } from "node:util";
import type { GatewayListener } from "../compile/gateway-policy.ts";
import type { InboundListener, OutboundListener, WorkloadPolicy } from "../compile/workload-policy.ts";
import { AppError } from "../core/error.ts";
import type { Logger } from "../core/logger.ts";
import { DEFAULT_MESH_TLS } from "../policy/mesh-config.ts";
import type { Endpoint } from "../policy/model.ts";
import { Acceptor, formatEndpoint } from "./acceptor.ts";
import { AuthorizerClients } from "./authorizer-clients.ts";
import type { Credentials } from "./credentials.ts";
import { ExternalAuthorization } from "./external-authorization.ts";
import { GatewayPort } from "./gateway-port.ts";
import { type GatewaySecrets, NO_SECRETS } from "./gateway-secrets.ts";
import { InboundPort } from "./inbound-port.ts";
import { DEFAULT_LIMITS, type Limits } from "./limits.ts";
import { OpenServers } from "./open-servers.ts";
import { OutboundPort } from "./outbound-port.ts";
import { compilePolicy, PolicyState } from "./policy-state.ts";
import type { Recorder } from "./record.ts";

export interface EmbeddedProxyOptions {
  readonly credentials: Credentials;
  readonly recorder: Recorder;
  readonly logger: Logger;
  readonly limits?: Partial<Limits>;
}

type Wanted =
  | { readonly kind: "inbound"; readonly listener: InboundListener }
  | { readonly kind: "outbound"; readonly listener: OutboundListener }
  | { readonly kind: "gateway"; readonly listener: GatewayListener; readonly secrets: GatewaySecrets };

/** A listening socket with what serves its connections. */
type Bound = { readonly acceptor: Acceptor } & (
  | { readonly kind: "inbound"; readonly listener: InboundListener; readonly port: InboundPort }
  | { readonly kind: "outbound"; readonly listener: OutboundListener; readonly port: OutboundPort }
  | { readonly kind: "gateway"; readonly listener: GatewayListener; readonly port: GatewayPort }
);

function bindOf(wanted: Wanted): Endpoint {
  return wanted.kind === "outbound" ? wanted.listener.bind : { kind: "tcp", host: wanted.listener.bind, port: wanted.listener.port };
}

/** By address; one address cannot serve two listeners. Throws `invalid-configuration`. */
function wantedListeners({ inbound, outbound, gateway }: WorkloadPolicy, secrets: GatewaySecrets): ReadonlyMap<string, Wanted> {
  const wanted = new Map<string, Wanted>();
  const all: readonly Wanted[] = [
    ...inbound.map((listener) => ({ kind: "inbound", listener }) as const),
    ...outbound.map((listener) => ({ kind: "outbound", listener }) as const),
    ...(gateway?.listeners ?? []).map((listener) => ({ kind: "gateway", listener, secrets }) as const),
  ];
  for (const one of all) {
    // Port 0 takes any free port, so that two of them are two listeners.
    const bind = bindOf(one);
    const key = bind.kind === "tcp" && bind.port === 0 ? `${formatEndpoint(bind)} ${one.listener.name}` : formatEndpoint(bind);
    if (wanted.has(key))
      throw new AppError("invalid-configuration", `two listeners have the address \`${key}\``, { help: "give each a port of its own" });
    wanted.set(key, one);
  }
  return wanted;
}

export class EmbeddedProxy {
  readonly #options: EmbeddedProxyOptions;
  readonly #limits: Limits;
  readonly #servers = new OpenServers();
  readonly #clients: AuthorizerClients;
  readonly #external: ExternalAuthorization;
  readonly #bound = new Map<string, Bound>();
  #state: PolicyState | undefined;
  #closed = false;
  /** One policy at a time. */
  #applying: Promise<void> = Promise.resolve();

  constructor(options: EmbeddedProxyOptions) {
    this.#options = options;
    this.#limits = { ...DEFAULT_LIMITS, ...options.limits };
    const { credentials, recorder, logger } = options;
    this.#clients = new AuthorizerClients({ credentials, servers: this.#servers, recorder, logger, limits: this.#limits });
    this.#external = new ExternalAuthorization(this.#clients);
  }

  /** Whether a policy is in force. */
  get serving(): boolean {
    return this.#state !== undefined;
  }

  /** The port on which a listener really listens; undefined where there is no such listener. */
  portOf(listener: string): number | undefined {
    return [...this.#bound.values()].find((bound) => bound.listener.name === listener)?.acceptor.port;
  }

  /**
   * Puts a policy into force, with the certificates that a gateway's servers need: resolves when its listeners serve and every further decision is by it. Rejects with
   * `invalid-configuration` for what it does not understand, and the policy before it then stays; with `address-in-use`,
   * `permission-denied` or `unavailable` for listeners that cannot be opened, and all else of the policy is in force then.
   */
  apply(policy: WorkloadPolicy, secrets: GatewaySecrets = NO_SECRETS): Promise<void> {
    const applied = this.#applying.then(() => this.#apply(policy, secrets));
    this.#applying = applied.catch(() => undefined);
    return applied;
  }

  /** Takes no more connections, lets requests in flight finish for as long as `graceMs`, and ends everything. */
  async close(graceMs: number): Promise<void> {
    this.#closed = true;
    await this.#applying;
    const bound = [...this.#bound.values()];
    const timer = setTimeout(() => {
      for (const { acceptor } of bound) acceptor.disconnect();
    }, graceMs);
    const stopped = bound.map(({ acceptor }) => acceptor.stop());
    for (const { port } of bound) port.drain();
    await Promise.all(stopped);
    clearTimeout(timer);
    for (const { port } of bound) port.close();
    this.#bound.clear();
    this.#clients.close();
  }

  async #apply(policy: WorkloadPolicy, secrets: GatewaySecrets): Promise<void> {
    if (this.#closed) throw new AppError("unavailable", "the proxy is closing");
    // 1. What cannot be understood changes nothing.
    const compiled = compilePolicy(policy);
    const wanted = wantedListeners(policy, secrets);
    const { tls = DEFAULT_MESH_TLS, revoked = [] } = policy;
    const before = this.#state?.policy;
    const sameTls = isDeepStrictEqual(tls, before?.tls ?? DEFAULT_MESH_TLS);
    const newlyRevoked = new Set(revoked).difference(new Set(before?.revoked));
    this.#options.credentials.configure(tls);
    // 2. What cannot be listened on is left out: neither the other listeners nor the decisions may wait for it.
    const { opened, failures } = await this.#open([...wanted].filter(([key]) => !this.#bound.has(key)));
    // 3. From here on nothing fails: decisions first, so that no new listener serves by an old policy.
    this.#servers.revoke(new Set(revoked));
    this.#clients.update(policy.authorizers ?? [], policy.identity);
    if (this.#state === undefined) this.#state = new PolicyState(compiled);
    else this.#state.replace(compiled);
    for (const [key, bound] of [...this.#bound]) if (!wanted.has(key)) this.#release(key, bound);
    for (const [key, one] of wanted) this.#serve(key, one, opened.get(key), this.#state);
    if (!sameTls) for (const { port } of this.#bound.values()) port.retireTls();
    // The rules refuse what these peers ask from now on; this ends what they have already, and touches nobody else.
    if (newlyRevoked.size > 0) for (const bound of this.#bound.values()) if (bound.kind !== "outbound") bound.port.cutRevoked(newlyRevoked);
    const { inbound, outbound } = policy;
    this.#options.logger.log("info", "policy in force", { workload: policy.workload, inbound: inbound.length, outbound: outbound.length });
    const [first] = failures;
    if (first !== undefined) throw new AppError(first.code, failures.map(({ message }) => message).join("; "), { help: first.help ?? "" });
  }

  async #open(missing: readonly (readonly [string, Wanted])[]): Promise<{
    readonly opened: ReadonlyMap<string, Acceptor>;
    readonly failures: readonly AppError[];
  }> {
    const attempts = await Promise.allSettled(
      missing.map(async ([key, one]) => [key, await Acceptor.listen(bindOf(one), this.#limits.connections)] as const),
    );
    return {
      opened: new Map(attempts.flatMap((attempt) => (attempt.status === "fulfilled" ? [attempt.value] : []))),
      failures: attempts.flatMap((attempt) => (attempt.status === "rejected" ? [AppError.from(attempt.reason)] : [])),
    };
  }

  #release(key: string, { acceptor, port }: Bound): void {
    this.#bound.delete(key);
    acceptor.close();
    port.close();
  }

  /** Brings the listener of one address to what is wanted there. */
  #serve(key: string, wanted: Wanted, opened: Acceptor | undefined, state: PolicyState): void {
    const before = this.#bound.get(key);
    const acceptor = opened ?? before?.acceptor;
    if (acceptor === undefined) return;
    const bound = this.#update(before, wanted, acceptor) ?? this.#replace(before, wanted, acceptor, state);
    this.#bound.set(key, bound);
    acceptor.onConnection = (socket) => bound.port.accept(socket);
  }

  /** The same listener with what is new of it; undefined where its connections speak another protocol from now on. */
  #update(before: Bound | undefined, wanted: Wanted, acceptor: Acceptor): Bound | undefined {
    if (before?.kind === "gateway" && wanted.kind === "gateway") {
      before.port.update(wanted.listener, wanted.secrets);
      return { acceptor, kind: "gateway", listener: wanted.listener, port: before.port };
    }
    if (before?.kind === "inbound" && wanted.kind === "inbound" && before.listener.protocol === wanted.listener.protocol) {
      before.port.update(wanted.listener);
      return { acceptor, ...wanted, port: before.port };
    }
    if (before?.kind === "outbound" && wanted.kind === "outbound" && before.listener.protocol === wanted.listener.protocol) {
      before.port.update(wanted.listener);
      return { acceptor, ...wanted, port: before.port };
    }
    return undefined;
  }

  #replace(before: Bound | undefined, wanted: Wanted, acceptor: Acceptor, state: PolicyState): Bound {
    before?.port.close();
    acceptor.disconnect();
    const { credentials, recorder, logger } = this.#options;
    const shared = { state, credentials, servers: this.#servers, recorder, logger, limits: this.#limits, external: this.#external };
    switch (wanted.kind) {
      case "inbound":
        return { acceptor, ...wanted, port: new InboundPort({ listener: wanted.listener, port: acceptor.port, ...shared }) };
      case "outbound":
        return { acceptor, ...wanted, port: new OutboundPort({ listener: wanted.listener, ...shared }) };
      case "gateway": {
        const { listener, secrets } = wanted;
        return { acceptor, kind: "gateway", listener, port: new GatewayPort({ listener, secrets, port: acceptor.port, ...shared }) };
      }
    }
  }
}
