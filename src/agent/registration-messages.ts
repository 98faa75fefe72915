/** The messages of `garrison.v1.WorkloadRegistration` (proto/garrison/v1/registration.proto). */
import type { MethodDefinition } from "@grpc/grpc-js";
import type { AppProbe } from "./app-probes.ts";
import type { ClientMethod } from "./control-plane-call.ts";
import { encodeMessage, readFields, textOf } from "./protobuf.ts";

export interface GroupDescription {
  /** `NAMESPACE/NAME` of the WorkloadEntry that this machine would be. */
  readonly workload: string;
  /** A SPIFFE ID. */
  readonly identity: string;
  readonly address: string;
  /** Its connections are to be redirected to its proxy. */
  readonly captured: boolean;
  /** Its questions of DNS are to be answered by its agent. */
  readonly dnsCapture: boolean;
}

export const DESCRIBE_GROUP: ClientMethod<{ readonly group: string; readonly address: string }, GroupDescription> = {
  path: "/garrison.v1.WorkloadRegistration/DescribeGroup",
  requestSerialize: ({ group, address }) =>
    encodeMessage([
      [1, group],
      [2, address],
    ]),
  responseDeserialize: (bytes) => {
    let [workload, identity, address] = ["", "", ""];
    let [captured, dnsCapture] = [false, false];
    readFields(
      bytes,
      { 1: (value) => (workload = textOf(value)), 2: (value) => (identity = textOf(value)), 3: (value) => (address = textOf(value)) },
      { 4: (value) => (captured = value !== 0), 5: (value) => (dnsCapture = value !== 0) },
    );
    return { workload, identity, address, captured, dnsCapture };
  },
};

/** What an agent asks of its application: as a node asks, or by a program. `host` is empty for the member's own address. */
export type MemberProbe =
  | { readonly kind: "network"; readonly host: string; readonly probe: AppProbe }
  | { readonly kind: "exec"; readonly command: readonly string[]; readonly timeoutSeconds: number };

/** Istio's ReadinessProbe. */
export interface HealthCheck {
  readonly ask: MemberProbe;
  readonly initialDelaySeconds: number;
  readonly periodSeconds: number;
  readonly successThreshold: number;
  readonly failureThreshold: number;
}

export interface ReceivedRegistration {
  readonly workload: string;
  /** Undefined where nothing is to be asked. */
  readonly check: HealthCheck | undefined;
}

export interface ReportedHealth {
  readonly healthy: boolean;
  readonly detail: string;
}

export interface MemberReport {
  readonly group: string;
  readonly address: string;
  readonly health: ReportedHealth | undefined;
  readonly leaving: boolean;
}

interface NetworkTarget {
  readonly host: string;
  readonly port: number;
}

function pairOf(bytes: Uint8Array): readonly [string, string] {
  let [name, value] = ["", ""];
  readFields(bytes, { 1: (field) => (name = textOf(field)), 2: (field) => (value = textOf(field)) });
  return [name, value];
}

function httpOf(bytes: Uint8Array, timeoutSeconds: number): MemberProbe {
  let [scheme, host, path] = ["", "", ""];
  let port = 0;
  const headers: (readonly [string, string])[] = [];
  readFields(
    bytes,
    {
      1: (value) => (scheme = textOf(value)),
      2: (value) => (host = textOf(value)),
      4: (value) => (path = textOf(value)),
      5: (value) => headers.push(pairOf(value)),
    },
    { 3: (value) => (port = value) },
  );
  return {
    kind: "network",
    host,
    probe: { kind: "http", scheme: scheme === "HTTPS" ? "HTTPS" : "HTTP", port, path, headers, timeoutSeconds },
  };
}

function tcpOf(bytes: Uint8Array, timeoutSeconds: number): MemberProbe {
  const target: { -readonly [K in keyof NetworkTarget]: NetworkTarget[K] } = { host: "", port: 0 };
  readFields(bytes, { 1: (value) => (target.host = textOf(value)) }, { 2: (value) => (target.port = value) });
  return { kind: "network", host: target.host, probe: { kind: "tcp", port: target.port, timeoutSeconds } };
}

function grpcOf(bytes: Uint8Array, timeoutSeconds: number): MemberProbe {
  let [port, service] = [0, ""];
  readFields(bytes, { 2: (value) => (service = textOf(value)) }, { 1: (value) => (port = value) });
  return { kind: "network", host: "", probe: { kind: "grpc", port, service, timeoutSeconds } };
}

function execOf(bytes: Uint8Array, timeoutSeconds: number): MemberProbe {
  const command: string[] = [];
  readFields(bytes, { 1: (value) => command.push(textOf(value)) });
  return { kind: "exec", command, timeoutSeconds };
}

/** What is less would ask without a pause, or never be enough. */
function atLeastOne(value: number): number {
  return Math.max(1, value);
}

/** Undefined for a way of asking that a newer control plane may know. */
function checkOf(bytes: Uint8Array): HealthCheck | undefined {
  let [initialDelaySeconds, timeoutSeconds, periodSeconds, successThreshold, failureThreshold] = [0, 1, 1, 1, 1];
  let make: (() => MemberProbe) | undefined;
  const handler = (read: (value: Uint8Array, timeout: number) => MemberProbe) => (value: Uint8Array) => {
    make = () => read(value, timeoutSeconds);
  };
  readFields(
    bytes,
    { 6: handler(httpOf), 7: handler(tcpOf), 8: handler(grpcOf), 9: handler(execOf) },
    {
      1: (value) => (initialDelaySeconds = value),
      2: (value) => (timeoutSeconds = atLeastOne(value)),
      3: (value) => (periodSeconds = atLeastOne(value)),
      4: (value) => (successThreshold = atLeastOne(value)),
      5: (value) => (failureThreshold = atLeastOne(value)),
    },
  );
  return make === undefined ? undefined : { ask: make(), initialDelaySeconds, periodSeconds, successThreshold, failureThreshold };
}

export function decodeRegistration(bytes: Uint8Array): ReceivedRegistration {
  let workload = "";
  let check: HealthCheck | undefined;
  readFields(bytes, { 1: (value) => (workload = textOf(value)), 2: (value) => (check = checkOf(value)) });
  return { workload, check };
}

const [HEALTHY, UNHEALTHY] = [1n, 2n];

export function encodeReport({ group, address, health, leaving }: MemberReport): Buffer {
  return encodeMessage([
    [1, group],
    [2, address],
    ...(health === undefined
      ? []
      : ([
          [3, health.healthy ? HEALTHY : UNHEALTHY],
          [4, health.detail],
        ] as const)),
    ...(leaving ? ([[5, true]] as const) : []),
  ]);
}

type RegisterMethod = Pick<MethodDefinition<MemberReport, ReceivedRegistration>, "path" | "requestSerialize" | "responseDeserialize">;

export const REGISTER: RegisterMethod = {
  path: "/garrison.v1.WorkloadRegistration/Register",
  requestSerialize: encodeReport,
  responseDeserialize: decodeRegistration,
};
