/** The services by which workloads get their identity: certificates, JWT-SVIDs, and what they are told of themselves. */
import type { Server } from "@grpc/grpc-js";
import { clientCertificateAuthenticator, type TokenVerifier, tokenAuthenticator } from "../ca/authenticators.ts";
import type { Authority } from "../ca/authority.ts";
import { certificateService } from "../ca/csr-service.ts";
import { boundWorkload, type JoinAuthenticatorOptions, joinTokenAuthenticator } from "../ca/join-authenticator.ts";
import type { JoinTokens } from "../ca/join-tokens.ts";
import { issueJwtSvid } from "../ca/jwt-svid.ts";
import type { JwtSvidKeys } from "../ca/jwt-svid-keys.ts";
import type { JwtSvidRecord } from "../ca/jwt-svid-record.ts";
import { jwtSvidService } from "../ca/jwt-svid-service.ts";
import type { Clock } from "../core/clock.ts";
import type { Logger } from "../core/logger.ts";
import { JwtSvidAuthority, WorkloadDirectory } from "../gen/garrison/v1/identity_pb.js";
import { IstioCertificateService } from "../gen/istio/v1/auth/ca_pb.js";
import { formatSpiffeId, type SpiffeId } from "../identity/spiffe-id.ts";
import type { TrustDomain } from "../identity/trust-domain.ts";
import { serviceDefinition } from "../rpc/service.ts";
import type { AdmissionOptions } from "./admission.ts";
import type { MeshState } from "./mesh-state.ts";
import { workloadDirectory } from "./workload-directory.ts";
import { workloadSummaries } from "./workloads.ts";

export interface IdentityServicesOptions {
  readonly trustDomain: TrustDomain;
  readonly authority: Authority;
  /** SPIFFE IDs of those who may have certificates of every identity. */
  readonly registrationAuthorities: ReadonlySet<string>;
  readonly joinTokens: JoinTokens;
  readonly jwtKeys: JwtSvidKeys;
  readonly jwtRecord: JwtSvidRecord;
  readonly verifier: TokenVerifier;
  readonly mesh: MeshState;
  readonly trust: AdmissionOptions["trust"];
  readonly clock: Clock;
  readonly logger: Logger;
}

/** Adds them to a server. A certificate is the best proof, so that a join token that comes with one is not used up. */
export function addIdentityServices(server: Server, options: IdentityServicesOptions): void {
  const { trustDomain, authority, joinTokens, jwtKeys, jwtRecord, verifier, mesh, trust, clock, logger } = options;
  const knows = (caller: SpiffeId): boolean => mesh.current.snapshot.identities.has(formatSpiffeId(caller));
  const byCertificate = clientCertificateAuthenticator({ trustDomain, trust, clock });
  const byToken = tokenAuthenticator({ trustDomain, tokens: verifier });
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
    authenticators: [byCertificate, joinTokenAuthenticator(joining, "use"), byToken],
  });
  const jwtSvids = jwtSvidService({
    authenticator: byCertificate,
    knows,
    issue: (request) => issueJwtSvid({ trustDomain, keys: jwtKeys, record: jwtRecord, clock }, request),
    jwks: () => jwtKeys.jwks,
    recordRefusal: (caller, identity, error) => authority.recordRefusal(caller, identity, error),
    clock,
    logger,
  });
  const directory = workloadDirectory({
    authenticators: [byCertificate, joinTokenAuthenticator(joining, "look"), byToken],
    boundWorkload: (credentials) => boundWorkload(joining, credentials),
    workloads: () => workloadSummaries(mesh.current),
  });
  server.addService(serviceDefinition(IstioCertificateService), { ...csr });
  server.addService(serviceDefinition(JwtSvidAuthority), jwtSvids);
  server.addService(serviceDefinition(WorkloadDirectory), directory);
}
