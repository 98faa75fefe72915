/** What an operator says of a control plane. */
import type { Clock } from "../core/clock.ts";
import type { Logger } from "../core/logger.ts";
import type { FixedSettings } from "../mesh/mesh-config.ts";
import type { MeshSettings } from "../mesh/snapshot.ts";
import type { IpBlock } from "../policy/ip-block.ts";
import type { ClusterPlace } from "./cluster/place.ts";
import type { FederationConfig } from "./federation.ts";
import type { CaOptions } from "./open-ca.ts";
import type { ConfigurationOrigin } from "./source.ts";

export interface ControlPlaneOptions extends FederationConfig {
  /** Where the configuration is: a folder of YAML, or a Kubernetes cluster. */
  readonly config: ConfigurationOrigin;
  /** The state folder; made with mode 0700 where there is none. */
  readonly state: string;
  /** Where gRPC is served; port 0 takes any free one. */
  readonly listen: { readonly host: string; readonly port: number };
  /** What holds where the mesh's configuration says nothing. */
  readonly settings: MeshSettings;
  /** What the mesh's configuration may not contradict. */
  readonly fixed?: FixedSettings;
  readonly version: string;
  readonly logger: Logger;
  readonly clock?: Clock;
  /** Where keys of tokens may be fetched from besides the public internet, and by HTTP too. */
  readonly jwksAllow?: readonly IpBlock[];
  /** Of a control plane on Kubernetes. */
  readonly place?: ClusterPlace;
  /** Ends a start that waits for an API server. */
  readonly signal?: AbortSignal;
  /** Whose CA signs; without it, one that is made here on the first start. */
  readonly ca?: CaOptions;
  /** SPIFFE IDs of control planes that may have certificates of every identity. */
  readonly registrationAuthorities?: readonly string[];
  /** `NAMESPACE/SERVICE-ACCOUNT` of node proxies, which may have certificates of the workloads of their own node; on Kubernetes alone. */
  readonly trustedNodeAccounts?: readonly string[];
  /** Where the signed list of revoked certificates is served by HTTP; nowhere without. */
  readonly crlListen?: { readonly host: string; readonly port: number };
  /** Where metrics are served by HTTP; nowhere without. */
  readonly metricsListen?: { readonly host: string; readonly port: number };
  /** The address of that list as verifiers reach it. */
  readonly crlUrl?: string;
  /** How many bytes the record of decisions may take; 5 million records without. */
  readonly recordMaxBytes?: number;
  /** How long a registered machine stays whose agent is away, in milliseconds; 30 s without. */
  readonly registrationGraceMs?: number;
  /** The file that says which issuers outside the mesh vouch for workloads. */
  readonly issuersFile?: string;
}
