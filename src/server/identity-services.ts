/** The services by which workloads get their identity: certificates, JWT-SVIDs, and what they are told of themselves. */
import type { Server, UntypedServiceImplementation } from "@grpc/grpc-js";
import { clientCertificateAuthenticator, type TokenVerifier, tokenAuthenticator } from "../ca/authenticators.ts";
import type { Authority } from "../ca/authority.ts";
import { certificateService } from "../ca/csr-service.ts";
import type { OutsideIdentities } from "../ca/issuers/outside-authenticator.ts";
import { boundWorkload, type JoinAuthenticatorOptions, joinTokenAuthenticator } from "../ca/join-authenticator.ts";
import type { JoinTokens } from "../ca/join-tokens.ts";
import { issueJwtSvid } from "../ca/jwt-svid.ts";
import type { JwtSvidKeys } from "../ca/jwt-svid-keys.ts";
import type { JwtSvidRecord } from "../ca/jwt-svid-record.ts";
import { jwtSvidService } from "../ca/jwt-svid-service.ts";
import { NodeProxies, type NodeProxiesOptions } from "../ca/node-proxies.ts";
import type { Clock } from "../core/clock.ts";
import type { Logger } from "../core/logger.ts";
import { JwtSvidAuthority, WorkloadDirectory } from "../gen/garrison/v1/identity_pb.js";
import { WorkloadRegistration } from "../gen/garrison/v1/registration_pb.js";
import { IstioCertificateService } from "../gen/istio/v1/auth/ca_pb.js";
import { formatSpiffeId, type SpiffeId } from "../identity/spiffe-id.ts";
import type { TrustDomain } from "../identity/trust-domain.ts";
import { CallQueue } from "../rpc/call-queue.ts";
import { queuedService, throttledBusy } from "../rpc/queued-service.ts";
import { serviceDefinition } from "../rpc/service.ts";
import type { AdmissionOptions } from "./admission.ts";
import type { MeshState } from "./mesh-state.ts";
import { countedService } from "./metrics/counted.ts";
import type { Metrics } from "./metrics/metrics.ts";
import { describeGroup } from "./registration/describe-group.ts";
import type { RegistrationService } from "./registration/service.ts";
import { workloadDirectory } from "./workload-directory.ts";
import { workloadSummaries } from "./workloads.ts";

export interface IdentityServicesOptions {
  readonly trustDomain: TrustDomain;
  readonly authority: Authority;
  /** SPIFFE IDs of those who may have certificates of every identity. */
  readonly registrationAuthorities: ReadonlySet<string>;
  /** Undefined where there are none. */
  readonly nodeProxies: Omit<NodeProxiesOptions, "knows"> | undefined;
  readonly joinTokens: JoinTokens;
  readonly jwtKeys: JwtSvidKeys;
  readonly jwtRecord: JwtSvidRecord;
  /** Undefined where nobody outside can vouch for anybody. */
  readonly outside: OutsideIdentities | undefined;
  readonly verifier: TokenVerifier;
  /** The name of the configuration's own cluster; undefined where there are no clusters. */
  readonly ownCluster: string | undefined;
  readonly mesh: MeshState;
  readonly registration: RegistrationService;
  readonly trust: AdmissionOptions["trust"];
  readonly metrics: Pick<Metrics, "request" | "serves">;
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Certificates that are worked on together are recorded together. */
const CONCURRENCY = 64;
/** Some 6 KiB each. */
const CAPACITY = 1_024;
/** Agents give up after 10 s, of which their connection takes a part. */
const MAX_WAIT_MS = 6_000;

/** One queue for all of these services: before it is asked who calls, callers get equal parts of what there is. */
function admission(clock: Clock, logger: Logger) {
  const queue = new CallQueue({ concurrency: CONCURRENCY, capacity: CAPACITY, maxWaitMs: MAX_WAIT_MS });
  const tell = throttledBusy(queue, clock, logger);
  return (handlers: UntypedServiceImplementation) => queuedService(queue, handlers, tell);
}

/** Adds them to a server. A certificate is the best proof, so that a join token that comes with one is not used up. */
export function addIdentityServices(server: Server, options: IdentityServicesOptions): void {
  const { trustDomain, authority, nodeProxies, joinTokens, jwtKeys, jwtRecord, outside, verifier, mesh, trust, clock, logger } = options;
  const knows = (caller: SpiffeId): boolean => mesh.current.snapshot.identities.has(formatSpiffeId(caller));
  const byCertificate = clientCertificateAuthenticator({ trustDomain, trust, clock });
  const byOwnToken = tokenAuthenticator({ trustDomain, tokens: verifier });
  const byToken = outside?.except(byOwnToken) ?? byOwnToken;
  const outsiders = (how: "use" | "look") => (outside === undefined ? [] : [outside.authenticator(how)]);
  const joining: JoinAuthenticatorOptions = {
    trustDomain,
    tokens: joinTokens,
    accountOf: (workload) => mesh.current.snapshot.workloads.get(workload)?.identity,
  };
  const csr = certificateService({
    authority,
    logger,
    knows,
    registrationAuthorities: options.registrationAuthorities,
    ...(nodeProxies === undefined ? {} : { nodeProxies: new NodeProxies({ ...nodeProxies, knows }) }),
    authenticators: [byCertificate, joinTokenAuthenticator(joining, "use"), ...outsiders("use"), byToken],
  });
  const jwtSvids = jwtSvidService({
    authenticator: byCertificate,
    knows,
    issue: (request) => issueJwtSvid({ trustDomain, keys: jwtKeys, record: jwtRecord, clock }, request),
    jwks: () => jwtKeys.jwks,
    recordRefusal: (identity, error) =>
      authority.recordRefusal(identity === "" ? "nobody" : byCertificate.name, identity, error, "jwt-svid"),
    clock,
    logger,
  });
  const looking = [byCertificate, joinTokenAuthenticator(joining, "look"), ...outsiders("look"), byToken];
  const DescribeGroup = describeGroup({ authenticators: looking, snapshot: () => mesh.current.snapshot });
  const directory = workloadDirectory({
    authenticators: looking,
    boundWorkload: (credentials) => boundWorkload(joining, credentials),
    workloads: () => workloadSummaries(mesh.current),
    qualified: (workload, cluster) =>
      options.ownCluster === undefined || cluster === "" || cluster === options.ownCluster ? workload : `${workload}@${cluster}`,
  });
  const queue = admission(clock, logger);
  const queued = (handlers: UntypedServiceImplementation) => countedService(queue(handlers), options.metrics);
  server.addService(serviceDefinition(IstioCertificateService), queued({ ...csr }));
  server.addService(serviceDefinition(JwtSvidAuthority), queued({ ...jwtSvids }));
  server.addService(serviceDefinition(WorkloadDirectory), queued({ ...directory }));
  const { register: Register } = options.registration;
  server.addService(serviceDefinition(WorkloadRegistration), { ...queued({ DescribeGroup }), Register });
}
