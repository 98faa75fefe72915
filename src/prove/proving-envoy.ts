/**
 * A real Envoy as an engine of questions: it runs what `render/envoy` makes of many workloads at once, each on a
 * loopback address of its own, and its answer to a request is what the client saw and what the access log says of it.
 */
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { toBinary } from "@bufbuild/protobuf";
import { SdsServer } from "../agent/sds-server.ts";
import { SecretStore } from "../agent/secrets.ts";
import { systemTimers } from "../agent/timers.ts";
import { withForwarded, withTokens } from "../analyze/asked-head.ts";
import { type Entrance, entranceFor } from "../analyze/entrance.ts";
import { hostOf, type Outcome } from "../analyze/evaluate.ts";
import type { Unrouted } from "../analyze/route.ts";
import type { TestRequest } from "../analyze/test-request.ts";
import type { NewAuditRecord } from "../audit/record.ts";
import type { InboundListener, WorkloadPolicy } from "../compile/workload-policy.ts";
import { silentLogger } from "../core/logger.ts";
import { SecretSchema } from "../gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js";
import { DENIED_BY_TOKEN } from "../policy/denied-by.ts";
import { renderEnvoy } from "../render/envoy/render.ts";
import { resource } from "../xds/cache.ts";
import type { Resource } from "../xds/resource.ts";
import { ProvingApplication } from "./application.ts";
import { ProvingAuthority } from "./authority.ts";
import { ask, type Question, type Seen } from "./client.ts";
import { ProvingControlPlane } from "./control-plane.ts";
import { EnvoyProcess, workFolder } from "./envoy-process.ts";
import { needsCertificate, placedGateway, proofSecret, SECRET_TYPE } from "./proof-gateway.ts";
import { ProvingTokenIssuer } from "./token-issuer.ts";

/** Every test process begins elsewhere in 127.200.0.0 to 127.255.255.255, so that two may run on one machine. */
const FIRST_PLACE = (process.pid % 3_500) * 1_024;

const CONTROL_PLANE = "spiffe://cluster.local/ns/istio-system/sa/garrison";
const OWN_IDENTITY = "spiffe://cluster.local/ns/proof/sa/proof";
/** Connections at a time. */
const CONCURRENCY = 24;
const PATIENCE_MS = 20_000;

/** A request of a workload that `load` has placed. */
export interface PlacedQuestion {
  readonly policy: WorkloadPolicy;
  readonly request: TestRequest;
}

/** Envoy tells of one AUDIT rule: the first that matches. */
export function firstAudit({ audit }: Outcome): readonly string[] {
  return audit.slice(0, 1);
}

// === The engine ===

export class ProvingEnvoy {
  readonly #ca = new ProvingAuthority();
  readonly #issuer = new ProvingTokenIssuer();
  readonly #controlPlane = new ProvingControlPlane();
  #secrets: SdsServer | undefined;
  readonly #application = new ProvingApplication();
  readonly #folder = workFolder();
  readonly #program: string;
  #envoy: EnvoyProcess | undefined;
  #placed = 0;

  private constructor(program: string) {
    this.#program = program;
  }

  /** Resolves when the program runs, without a listener as yet; nothing is left running when it does not come to that. */
  static async start(program: string): Promise<ProvingEnvoy> {
    const engine = new ProvingEnvoy(program);
    try {
      await engine.#start();
      return engine;
    } catch (error) {
      await engine.stop();
      throw error;
    }
  }

  async #start(): Promise<void> {
    const sdsSocket = join(this.#folder.path, "sds.sock");
    await this.#application.listen();
    await this.#controlPlane.listen(this.#ca.material(CONTROL_PLANE));
    const store = new SecretStore(OWN_IDENTITY);
    store.update(this.#ca.certificate(OWN_IDENTITY));
    this.#secrets = await SdsServer.start({ socket: sdsSocket, store, timers: systemTimers, logger: silentLogger });
    this.#envoy = EnvoyProcess.start(this.#program, this.#folder.path, {
      node: { id: "proof", cluster: "proof", metadata: {} },
      controlPlane: { address: "127.0.0.1", port: this.#controlPlane.port, identity: CONTROL_PLANE },
      sdsSocket,
      records: "control-plane",
      xds: "delta",
    });
    await Promise.all([this.#controlPlane.serve(new Map()), this.#envoy.ready()]);
  }

  async stop(): Promise<void> {
    await this.#envoy?.stop();
    this.#controlPlane.close();
    this.#secrets?.close();
    this.#application.close();
    this.#folder[Symbol.dispose]();
  }

  /**
   * Replaces what Envoy serves. The answer holds the policies as they are placed, in order: an inbound listener of
   * 127.0.0.1, or of an address that is not of the loopback interface, is moved to one that no workload had before, all lead to an application of the proof. Ask both
   * engines of the placed one, whose `destinationIp` is the real one.
   */
  async load(policies: readonly WorkloadPolicy[]): Promise<readonly WorkloadPolicy[]> {
    const placed = policies.map((policy) => this.#place(policy));
    const secret = toBinary(SecretSchema, proofSecret(this.#ca.material(OWN_IDENTITY)));
    const own = placed.some(({ gateway }) => needsCertificate(gateway)) ? [resource("proof/certificate", secret)] : [];
    await this.#controlPlane.serve(new Map([...merge(placed), ...own.map((one) => [SECRET_TYPE, new Map([[one.name, one]])] as const)]));
    await this.#listening(placed.flatMap(({ inbound, gateway }) => [...inbound, ...(gateway?.listeners ?? [])].map(({ name }) => name)));
    return placed;
  }

  /** The answers, in order. Rejects where one has none. */
  async ask(questions: readonly PlacedQuestion[]): Promise<readonly Outcome[]> {
    return (await this.askEach(questions)).map((answer) => {
      if (answer instanceof Error) throw answer;
      return answer;
    });
  }

  /** The answers, in order; an error for a question that has none, which is no matter of the others. */
  async askEach(questions: readonly PlacedQuestion[]): Promise<readonly (Outcome | Error)[]> {
    const seen = await inTurns(questions, (question) => this.#askOne(question).catch(asError));
    const records = await this.#controlPlane.records(seen.flatMap((one) => (!(one instanceof Error) && isLogged(one) ? [one.key] : [])));
    return seen.map((one, index) => {
      if (one instanceof Error) return one;
      if (!isLogged(one)) return undecided(one);
      try {
        const outcome = outcomeOf(one, records.get(one.key));
        checkTold(one, outcome, questions[index]?.policy.tellsDenials === true);
        return outcome;
      } catch (thrown) {
        return asError(thrown);
      }
    });
  }

  #place(policy: WorkloadPolicy): WorkloadPolicy {
    this.#placed += 1;
    const number = this.#placed;
    const place = FIRST_PLACE + number;
    const own = `127.${200 + (place >> 16)}.${(place >> 8) & 255}.${place & 255}`;
    const inbound = policy.inbound.map((listener): InboundListener => {
      const port = this.#application.ports.get(listener.protocol) ?? 0;
      return {
        ...listener,
        name: `inbound_${number}_${listener.port}`,
        bind: isKept(listener.bind) ? listener.bind : own,
        endpoint: { kind: "tcp", host: "127.0.0.1", port },
      };
    });
    const [namespace = "", name = ""] = policy.workload.split("/");
    const { requestAuthentication: rules } = policy;
    const tokens = rules && { requestAuthentication: rules.map((rule) => this.#issuer.admittedBy(rule)) };
    const gateway = policy.gateway && {
      gateway: placedGateway(policy.gateway, this.#application.ports.get("http") ?? 0, ({ bind, port }) => ({
        name: `gateway_${number}_${port}`,
        bind: isKept(bind) ? bind : own,
      })),
    };
    return { ...policy, workload: `${namespace}-${number}/${name}`, inbound, outbound: [], ...gateway, ...tokens };
  }

  async #listening(names: readonly string[]): Promise<void> {
    for (const end = Date.now() + PATIENCE_MS; ; await delay(10)) {
      const active = (await this.#envoy?.admin("/listeners"))?.body ?? "";
      const missing = names.filter((name) => !active.includes(`${name}::`));
      if (missing.length === 0) return;
      if (Date.now() > end) throw new Error(`envoy does not serve ${missing.join(", ")}: ${this.#envoy?.output}`);
    }
  }

  #materialOf({ from, outsider }: TestRequest): Question["material"] {
    if (from !== undefined) return this.#ca.material(from);
    return outsider === true ? { roots: this.#ca.material(OWN_IDENTITY).roots } : undefined;
  }

  async #askOne({ policy, request }: PlacedQuestion): Promise<Seen> {
    const listener = entranceFor(policy, request) ?? unserved(policy, request);
    const signed = withTokens(withForwarded(policy, request), (claims) => this.#issuer.token(claims));
    return ask({
      listener,
      request: signed,
      host: hostOf(policy, request),
      material: this.#materialOf(request),
    });
  }
}

/** Addresses that a policy may mean: of the loopback interface, and no workload's usual one. */
function isKept(bind: string): boolean {
  return bind === "::1" || (bind.startsWith("127.") && bind !== "127.0.0.1");
}

/** Where a request goes for a port that the workload does not have. */
function unserved({ inbound, gateway, address }: WorkloadPolicy, { port = 1, protocol = "http" }: TestRequest): Entrance {
  return { name: "", bind: inbound[0]?.bind ?? gateway?.listeners[0]?.bind ?? address, port, protocol };
}

// === What is served ===

/** The resources of all policies together. Clusters are named after ports, so that those of one port must be the same. */
function merge(policies: readonly WorkloadPolicy[]): ReadonlyMap<string, ReadonlyMap<string, Resource>> {
  const merged = new Map<string, Map<string, Resource>>();
  for (const policy of policies) {
    for (const [typeUrl, resources] of renderEnvoy(policy)) {
      const known = merged.get(typeUrl) ?? new Map<string, Resource>();
      merged.set(typeUrl, known);
      for (const [name, { body }] of resources) {
        const next = resource(name, body);
        if ((known.get(name)?.version ?? next.version) !== next.version)
          throw new Error(`two workloads of a proof need different resources of the name \`${name}\`: ask them apart (\`together\`)`);
        known.set(name, next);
      }
    }
  }
  return merged;
}

/** What one Envoy can serve at a time: the ports of one number must speak one protocol. */
export function together(policies: readonly WorkloadPolicy[]): readonly (readonly WorkloadPolicy[])[] {
  const groups: { readonly policies: WorkloadPolicy[]; readonly protocols: Map<number, string> }[] = [];
  for (const policy of policies) {
    const fits = ({ protocols }: { readonly protocols: ReadonlyMap<number, string> }) =>
      policy.inbound.every(({ port, protocol }) => (protocols.get(port) ?? protocol) === protocol);
    const group = groups.find(fits) ?? { policies: [], protocols: new Map<number, string>() };
    if (group.policies.length === 0) groups.push(group);
    group.policies.push(policy);
    for (const { port, protocol } of policy.inbound) group.protocols.set(port, protocol);
  }
  return groups.map((group) => group.policies);
}

// === What came of a request ===

/** Without a connection, and for a malformed request (400), there is nothing to log. */
function isLogged(seen: Seen): seen is Seen & { readonly key: string } {
  return seen.key !== undefined && seen.answer !== 400;
}

function undecided({ answer, unconnected }: Seen): Outcome {
  const why = unconnected === undefined ? "no connection" : `no connection: ${unconnected}`;
  return { effect: "refused", by: "", audit: [], why: answer === 400 ? "malformed request" : why };
}

const EFFECT_OF_ANSWER = new Map<Seen["answer"], Outcome["effect"]>([
  [200, "allow"],
  ["echo", "allow"],
  [403, "deny"],
]);

/** What a gateway answers by itself to a request that its rules let pass. */
const UNROUTED = [301, 404, 421, 503] as const satisfies readonly Unrouted["status"][];

/** The effect is what the client saw, and the record must agree. */
function outcomeOf({ answer }: Seen, record: NewAuditRecord | undefined): Outcome {
  if (record === undefined) throw new Error("there is no record");
  const { effect, origin, audit, detail, dryRun = "", dryRunOrigin = "" } = record;
  if (effect === "lost") throw new Error(`the record is lost: ${detail}`);
  const seen = EFFECT_OF_ANSWER.get(answer);
  const unrouted = UNROUTED.find((status) => status === answer);
  const tried = dryRun === "" ? {} : { dryRun: { effect: dryRun, by: dryRunOrigin } };
  if (effect === "allow" && unrouted !== undefined) return { effect: "refused", by: "", audit, why: detail, status: unrouted, ...tried };
  // A token for another audience gets 403 as well.
  const agree = answer === "closed" ? effect !== "allow" : effect === (seen ?? "refused") || (answer === 403 && effect === "refused");
  if (!agree) throw new Error(`the client saw ${answer}, the record says ${effect} by ${origin} (${detail})`);
  const status: Pick<Outcome, "status"> = effect === "refused" && (answer === 401 || answer === 403) ? { status: answer } : {};
  return { effect, by: origin, audit, why: detail, ...status, ...tried };
}

/** What a denied client is told is what the record says, and nobody else is told anything. */
function checkTold({ answer, deniedBy }: Seen, { effect, by, status }: Outcome, tellsDenials: boolean): void {
  const origin = effect === "deny" && answer !== "closed" ? by : status === 401 || status === 403 ? DENIED_BY_TOKEN : undefined;
  const expected = tellsDenials ? origin : undefined;
  if (deniedBy !== expected) throw new Error(`the client was told ${deniedBy}, and the record says ${expected ?? "nothing to tell"}`);
}

function asError(thrown: unknown): Error {
  return thrown instanceof Error ? thrown : new Error(String(thrown));
}

async function inTurns<T, R>(items: readonly T[], work: (item: T) => Promise<R>): Promise<readonly R[]> {
  const results: R[] = [];
  const queue = items.entries();
  const worker = async (): Promise<void> => {
    for (const [index, item] of queue) results[index] = await work(item);
  };
  await Promise.all(Array.from({ length: CONCURRENCY }, worker));
  return results;
}
