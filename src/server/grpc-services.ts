/** The gRPC services of the control plane's port. */
import type { Server } from "@grpc/grpc-js";
import { createAlsIntake } from "../audit/als-intake.ts";
import { createDecisionLogIntake } from "../audit/decision-log-intake.ts";
import { clientCertificateAuthenticator } from "../ca/authenticators.ts";
import { certificatesOf, ledgerRows, parseLedgerQuery } from "../ca/http.ts";
import type { CertificatesOf } from "../ca/revoke.ts";
import { AccessLogService } from "../gen/envoy/service/accesslog/v3/als_pb.js";
import { NameTables } from "../gen/garrison/v1/names_pb.js";
import { DecisionLog } from "../gen/garrison/v1/proxy_pb.js";
import { Replicas } from "../gen/garrison/v1/replica_pb.js";
import { TrustBundles } from "../gen/garrison/v1/trust_pb.js";
import { serviceDefinition } from "../rpc/service.ts";
import type { AdsService } from "../xds/service.ts";
import { type AdmissionOptions, reporterAdmission } from "./admission.ts";
import { replicaService } from "./cluster/replica-service.ts";
import type { ControlPlaneOptions } from "./control-plane-options.ts";
import { decisionsForReplicas } from "./decisions.ts";
import { addIdentityServices } from "./identity-services.ts";
import type { MeshState } from "./mesh-state.ts";
import type { Metrics } from "./metrics/metrics.ts";
import { evidenceSince } from "./mtls.ts";
import type { NamesService } from "./names/names-service.ts";
import type { RegistrationService } from "./registration/service.ts";
import type { OpenedSource } from "./source.ts";
import type { State } from "./state.ts";
import type { Trust } from "./trust.ts";
import { serviceAt } from "./workloads.ts";

export interface ServedParts {
  readonly state: State;
  readonly mesh: MeshState;
  readonly ads: AdsService;
  readonly admission: AdmissionOptions;
  readonly source: OpenedSource;
  readonly registration: RegistrationService;
  readonly trust: Trust;
  readonly names: NamesService;
  readonly metrics: Metrics;
  /** This one's name. */
  readonly replica: string;
}

/** Adds them all, before the port is bound. */
export function addServices(server: Server, options: ControlPlaneOptions, parts: ServedParts): void {
  const { logger, settings, registrationAuthorities = [], trustedNodeAccounts = [] } = options;
  const { state, mesh, ads, admission, source, registration, names } = parts;
  const { authority, joinTokens, jwtKeys, jwtRecord, issuers, store } = state;
  const { clock, trust } = admission;
  const reports = { store, admit: reporterAdmission(admission), clock, logger };
  const serviceOf = (workload: string, listener: string, at: number): string =>
    serviceAt(mesh.current.policies.get(workload), listener, at);
  server.addService(ads.definition, ads.implementation);
  server.addService(serviceDefinition(AccessLogService), createAlsIntake({ ...reports, serviceOf }).implementation);
  server.addService(serviceDefinition(DecisionLog), createDecisionLogIntake({ ...reports, serviceOf }).implementation);
  server.addService(serviceDefinition(TrustBundles), parts.trust.service.implementation);
  server.addService(serviceDefinition(NameTables), names.implementation);
  const byCertificate = clientCertificateAuthenticator({ trustDomain: settings.trustDomain, trust, clock });
  const { trustDomain } = settings;
  const own = {
    evidence: (since: number) => evidenceSince({ store, connections: () => ads.connections() }, since),
    certificates: (of: CertificatesOf) => certificatesOf(authority, of, clock.now()),
    ledger: (query: URLSearchParams) => ledgerRows(authority, jwtRecord, parseLedgerQuery(query, trustDomain)),
    decisions: decisionsForReplicas({ store, replica: parts.replica, clock }),
  };
  server.addService(serviceDefinition(Replicas), replicaService({ trustDomain, byCertificate, ...own }));
  const accounts = new Set(trustedNodeAccounts);
  const { cluster } = source;
  addIdentityServices(server, {
    registrationAuthorities: new Set(registrationAuthorities),
    nodeProxies: cluster === undefined || accounts.size === 0 ? undefined : { accounts, pods: cluster.source.pods },
    trustDomain,
    authority,
    joinTokens,
    jwtKeys,
    jwtRecord,
    outside: issuers.identities,
    verifier: source.tokens,
    ownCluster: source.ownCluster,
    mesh,
    registration,
    trust,
    metrics: parts.metrics,
    clock,
    logger,
  });
}
