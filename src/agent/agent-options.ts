/** What an agent is told at its start. */
import type { Clock } from "../core/clock.ts";
import { AppError } from "../core/error.ts";
import type { Logger } from "../core/logger.ts";
import { parseSpiffeId } from "../identity/spiffe-id.ts";
import type { KeySpec } from "../x509/key-spec.ts";
import type { AppProbes } from "./app-probes.ts";
import type { ControlPlane } from "./control-plane-call.ts";
import type { Membership } from "./registration.ts";
import type { RenewalSignal } from "./renewal-signal.ts";
import type { Timers } from "./timers.ts";
import type { TokenSource } from "./token-source.ts";
import type { SocketGroup } from "./workload-socket.ts";

export type ProxyChoice =
  | { readonly kind: "envoy"; readonly path: string; readonly xds: "delta" | "sotw"; readonly concurrency?: number }
  | { readonly kind: "embedded"; readonly command: readonly string[] }
  | { readonly kind: "none" };

export interface AgentOptions {
  /** `NAMESPACE/NAME` of its WorkloadEntry. */
  readonly workload: string;
  /** The workload's SPIFFE ID. */
  readonly identity: string;
  /** The workload's address, as peers reach it. */
  readonly address: string;
  /** Of a machine that registers itself; absent for a workload that somebody wrote. */
  readonly membership?: Membership;
  readonly controlPlane: ControlPlane;
  /** PEM: what the control plane is checked against, before there is a certificate and after. */
  readonly rootCertificateFile: string;
  /** A service-account token for the first certificate; may appear later, or never where the CA knows the caller otherwise. */
  readonly tokenFile?: string;
  /** Instead of a file. */
  readonly token?: TokenSource;
  /** The cluster that issues the token, where there are several. */
  readonly cluster?: string;
  /** 0700; made where it is missing. */
  readonly runFolder: string;
  readonly proxy: ProxyChoice;
  /** Where the SPIFFE Workload API is served, and to whom besides the agent's user; `workload.sock` in the run folder without. */
  readonly workloadApi?: { readonly socket?: string; readonly group?: SocketGroup };
  /** Folders whose certificates and roots the proxy may fetch by SDS (`file-cert:…`, `file-root:…`). */
  readonly sdsFiles?: readonly string[];
  /** A folder that gets the certificate as files; without, the key is never on disk. */
  readonly outputCertificates?: string;
  /** Who is told of each renewal. */
  readonly renewalSignal?: RenewalSignal;
  /** Where the workload's questions of DNS are answered, on loopback, and the file (of resolv.conf's form) with the servers that are asked for other names. */
  readonly dns?: { readonly port: number; readonly resolvConf: string };
  /** Where the node's probes are answered, and which of the application's. */
  readonly health?: { readonly host: string; readonly port: number; readonly probes: AppProbes };
  /** Run beside the proxy; its end is the agent's. */
  readonly command?: readonly string[];
  /** Added to the command's environment: `serviceEnvironment()`. */
  readonly env?: Readonly<Record<string, string>>;
  /** The life that certificates are asked for; the control plane's default without. */
  readonly ttlSeconds?: number;
  /** The kind of its certificates' keys; P-256 without. */
  readonly keySpec?: KeySpec;
  /** How long the proxy's open work may take at the end; 5 s without. */
  readonly drainMs?: number;
  readonly logger: Logger;
  readonly clock?: Clock;
  readonly timers?: Timers;
  /** In [0, 1). */
  readonly random?: () => number;
}

/** How the proxy names itself to the control plane. */
export interface ProxyNode {
  readonly id: string;
  readonly cluster: string;
  readonly metadata: Readonly<Record<string, string>>;
}

/** The xDS node of a workload (Istio's form of the id). Throws `invalid-argument`. */
export function proxyNode({
  workload,
  identity,
  address,
  proxy,
}: Pick<AgentOptions, "workload" | "identity" | "address" | "proxy">): ProxyNode {
  const [namespace, name, ...rest] = workload.split("/");
  if (!namespace || !name || rest.length > 0)
    throw new AppError("invalid-argument", `\`${workload}\` is not a workload`, { help: "write it as NAMESPACE/NAME" });
  const id = parseSpiffeId(identity);
  if (id.namespace !== namespace)
    throw new AppError("invalid-argument", `the workload \`${workload}\` is not of the namespace of its identity \`${identity}\``);
  return {
    id: `sidecar~${address}~${name}.${namespace}~${namespace}.svc.cluster.local`,
    cluster: `${name}.${namespace}`,
    metadata: { NAMESPACE: namespace, WORKLOAD_NAME: name, SERVICE_ACCOUNT: id.serviceAccount, GARRISON_PROXY: proxy.kind },
  };
}
