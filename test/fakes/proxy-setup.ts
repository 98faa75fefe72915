/** What tests of the embedded proxy have in common: identities, policies, a place for records. */
import type { AuthorizationLayers, CompiledRule, Condition, InboundListener, WorkloadPolicy } from "../../src/compile/workload-policy.ts";
import { silentLogger } from "../../src/core/logger.ts";
import { Credentials } from "../../src/proxy/credentials.ts";
import { EmbeddedProxy } from "../../src/proxy/embedded-proxy.ts";
import type { Limits } from "../../src/proxy/limits.ts";
import type { Recorder, RecordInit } from "../../src/proxy/record.ts";
import type { TlsMaterial } from "../../src/rpc/credentials.ts";
import { FakeCa } from "./fake-ca.ts";

export const FRONTEND = "spiffe://cluster.local/ns/photo-ns/sa/photo-frontend";
export const BACKEND = "spiffe://cluster.local/ns/photo-ns/sa/photo-backend";
export const INTRUDER = "spiffe://cluster.local/ns/photo-ns/sa/intruder";

/** Keeps records and lets tests wait for them. */
export class RecordKeeper implements Recorder {
  readonly records: RecordInit[] = [];
  readonly #watchers = new Set<() => void>();

  record(record: RecordInit): void {
    this.records.push(record);
    for (const watcher of [...this.#watchers]) watcher();
  }

  /** The nth record (from 1) that fits, when it comes. Rejects after `timeoutMs` with what came instead. */
  next(fits: (record: RecordInit) => boolean = () => true, count = 1, timeoutMs = 20_000): Promise<RecordInit> {
    return new Promise((resolve, reject) => {
      const look = () => {
        const found = this.records.filter(fits)[count - 1];
        if (found === undefined) return;
        clearTimeout(timer);
        this.#watchers.delete(look);
        resolve(found);
      };
      const timer = setTimeout(() => {
        this.#watchers.delete(look);
        const text = this.records.map((record) =>
          JSON.stringify(record, (_, value) => (typeof value === "bigint" ? Number(value) : value)),
        );
        reject(new Error(`no record ${count} that fits, but:\n${text.join("\n")}`));
      }, timeoutMs);
      this.#watchers.add(look);
      look();
    });
  }
}

export function layers(partial: Partial<AuthorizationLayers> = {}): AuthorizationLayers {
  return { audit: [], deny: [], allow: undefined, ...partial };
}

export function rule(policy: string, condition: Condition = { kind: "always" }): CompiledRule {
  return { origin: { namespace: "photo-ns", policy, rule: 0 }, condition };
}

/** A condition on the peer's service account name, without `spiffe://`. */
export function fromPrincipal(identity: string): Condition {
  const value = identity.replace("spiffe://", "");
  return {
    kind: "when",
    from: [[{ attribute: "principal", argument: "", negated: false, values: [{ kind: "exact", value }] }]],
    to: [],
    when: [],
  };
}

/** A condition on the path's beginning. */
export function pathPrefix(value: string): Condition {
  return {
    kind: "when",
    from: [],
    to: [[{ attribute: "path", argument: "", negated: false, values: [{ kind: "prefix", value }] }]],
    when: [],
  };
}

/** An inbound listener called `inbound` on a free port, in front of an application on `port`. */
export function inboundListener(port: number, partial: Partial<InboundListener> = {}): InboundListener {
  return {
    name: "inbound",
    bind: "127.0.0.1",
    port: 0,
    protocol: "http",
    mtls: "STRICT",
    endpoint: { kind: "tcp", host: "127.0.0.1", port },
    services: ["photo-ns/photo-backend"],
    ...partial,
  };
}

export function workloadPolicy(partial: Partial<WorkloadPolicy> = {}): WorkloadPolicy {
  return {
    workload: "photo-ns/photo-backend",
    address: "127.0.0.1",
    identity: BACKEND,
    trustDomains: ["cluster.local"],
    inbound: [],
    outbound: [],
    http: layers(),
    tcp: layers(),
    ...partial,
  };
}

/** A proxy with its certificate, and the CA that its peers trust. */
export interface ProxyUnderTest {
  readonly proxy: EmbeddedProxy;
  readonly ca: FakeCa;
  readonly credentials: Credentials;
  readonly keeper: RecordKeeper;
  /** The port of the listener called `inbound`, or of another one. */
  port(listener?: string): number;
  /** A certificate of the CA. */
  material(identity: string): TlsMaterial;
}

export function makeProxy({
  ca = new FakeCa(),
  identity = BACKEND,
  limits = {},
}: {
  ca?: FakeCa;
  identity?: string;
  limits?: Partial<Limits>;
} = {}): ProxyUnderTest {
  const credentials = new Credentials();
  credentials.update(ca.material(identity));
  const keeper = new RecordKeeper();
  const proxy = new EmbeddedProxy({ credentials, recorder: keeper, logger: silentLogger, limits });
  return {
    proxy,
    ca,
    credentials,
    keeper,
    port(listener = "inbound") {
      const port = proxy.portOf(listener);
      if (port === undefined) throw new Error(`there is no listener ${listener}`);
      return port;
    },
    material: (of) => ca.material(of),
  };
}
