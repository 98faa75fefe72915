/** The composition root of the control plane: where things are built and joined. */
import { join, resolve } from "node:path";
import { Server } from "@grpc/grpc-js";
import { createAlsIntake } from "../audit/als-intake.ts";
import { createDecisionLogIntake } from "../audit/decision-log-intake.ts";
import { auditHandler } from "../audit/http.ts";
import { AuditStore } from "../audit/store.ts";
import { JoinTokens } from "../ca/join-tokens.ts";
import { JwtSvidKeys } from "../ca/jwt-svid-keys.ts";
import { JWT_SVIDS_FILE, JwtSvidRecord } from "../ca/jwt-svid-record.ts";
import { followIntoLog } from "../ca/ledger-follow.ts";
import { TokenIssuer } from "../ca/service-account-token.ts";
import { servingIdentity, startServing } from "../ca/serving.ts";
import { ensurePrivateFolder } from "../ca/state-files.ts";
import { namedSecrets } from "../compile/gateway-secrets.ts";
import { type Clock, systemClock } from "../core/clock.ts";
import type { Logger } from "../core/logger.ts";
import { AccessLogService } from "../gen/envoy/service/accesslog/v3/als_pb.js";
import { NameTables } from "../gen/garrison/v1/names_pb.js";
import { DecisionLog } from "../gen/garrison/v1/proxy_pb.js";
import { TrustBundles } from "../gen/garrison/v1/trust_pb.js";
import { formatSpiffeId } from "../identity/spiffe-id.ts";
import type { FixedSettings } from "../mesh/mesh-config.ts";
import type { MeshSettings } from "../mesh/snapshot.ts";
import type { IpBlock } from "../policy/ip-block.ts";
import { serviceDefinition } from "../rpc/service.ts";
import { type KubernetesApi, openKubernetesApi } from "../sources/kubernetes/api.ts";
import { ResourceCache } from "../xds/cache.ts";
import type { XdsEvent } from "../xds/connection.ts";
import { ADS_SERVER_OPTIONS, type AdsService, createAdsService } from "../xds/service.ts";
import { serveAdmin } from "./admin.ts";
import { adminRoutes } from "./admin-routes.ts";
import { type AdmissionOptions, followerAdmission, reporterAdmission, streamAdmission } from "./admission.ts";
import { openCaSecret } from "./cluster/ca-secret.ts";
import { startClusterDuties } from "./cluster/duties.ts";
import { type ClusterPlace, DEFAULT_CLUSTER_NAME, DEFAULT_CLUSTER_PLACE, serviceNames } from "./cluster/place.ts";
import { newReplica } from "./cluster/replica.ts";
import { openSharedState } from "./cluster/shared-state.ts";
import { serveCrl } from "./crl-listener.ts";
import { type FederationConfig, openBundleEndpoint, openFederation } from "./federation.ts";
import { writeControlPlaneFile } from "./files.ts";
import { addIdentityServices } from "./identity-services.ts";
import { openIssuers } from "./issuers.ts";
import { jwtRotationRoute } from "./jwt-rotation.ts";
import { openMeshWithKeys } from "./keys.ts";
import { listenTls } from "./listen.ts";
import { followMesh, openMeshRoots } from "./mesh-roots.ts";
import type { MeshState } from "./mesh-state.ts";
import { mtlsRoute } from "./mtls.ts";
import { NamesService } from "./names/names-service.ts";
import { type CaOptions, openCa } from "./open-ca.ts";
import { Publisher } from "./publisher.ts";
import { openRegistrations } from "./registration/open.ts";
import type { RegistrationService } from "./registration/service.ts";
import { RENDERERS } from "./render.ts";
import { revocationRoute } from "./revocation.ts";
import { rotationRoute } from "./rotation.ts";
import { type ConfigurationOrigin, type OpenedSource, openSource } from "./source.ts";
import { refuseUnusableMesh, settleSettings } from "./start.ts";
import { openTrust } from "./trust.ts";
import { serviceAt } from "./workloads.ts";

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
  /** The address of that list as verifiers reach it. */
  readonly crlUrl?: string;
  /** How long a registered machine stays whose agent is away, in milliseconds; 30 s without. */
  readonly registrationGraceMs?: number;
  /** The file that says which issuers outside the mesh vouch for workloads. */
  readonly issuersFile?: string;
}

export interface ControlPlane {
  readonly listen: { readonly host: string; readonly port: number };
  readonly adminSocket: string;
  close(): Promise<void>;
}

/** What proxies accept; that they come, go and refuse is told by the ADS service itself. */
function logAccepted(logger: Logger, event: XdsEvent): void {
  if (event.kind !== "ack") return;
  const { key, typeUrl, version, latencyMs } = event;
  logger.log("debug", "a proxy accepted its configuration", { key, typeUrl, version, latencyMs });
}

/** Agents try again after 10 s at most. */
const REGISTRATION_GRACE_MS = 30_000;
/** For calls that are under way on connections that are to begin anew. */
const DRAIN_MS = 1_000;

/** Ends the server: streams that stay open are cut after a second. */
function stopServer(server: Server): Promise<void> {
  return new Promise((resolveStopped) => {
    const timer = setTimeout(() => server.forceShutdown(), 1000);
    server.tryShutdown(() => {
      clearTimeout(timer);
      resolveStopped();
    });
  });
}

/** The state that a control plane keeps on disk, opened. */
async function openState(options: ControlPlaneOptions, clock: Clock) {
  const { settings, logger } = options;
  const folder = resolve(options.state);
  const crlUrl = options.crlUrl === undefined ? {} : { crlUrl: options.crlUrl };
  const authority = await openCa({ stateFolder: folder, trustDomain: settings.trustDomain, clock, logger, ...crlUrl }, options.ca);
  const tokens = new TokenIssuer({ stateFolder: folder, issuer: `https://${settings.trustDomain}`, clock });
  const joinTokens = new JoinTokens(join(folder, "join-tokens.sqlite"), clock);
  const jwtKeys = new JwtSvidKeys({ stateFolder: folder, clock });
  const jwtRecord = new JwtSvidRecord(join(folder, JWT_SVIDS_FILE));
  const { ledger, revocations } = authority;
  const stopFollowing = followIntoLog({ ledger, revocations, jwtSvids: jwtRecord, clock, logger });
  const issuers = openIssuers({
    file: options.issuersFile,
    trustDomain: settings.trustDomain,
    ownIssuer: tokens.issuer,
    folder,
    allowed: options.jwksAllow ?? [],
    clock,
    logger,
  });
  const store = new AuditStore({ file: join(folder, "audit.sqlite"), clock, logger });
  const close = async (): Promise<void> => {
    store.close();
    issuers.close();
    stopFollowing();
    // What cannot be written is added by the next start.
    await authority.log.committed().catch(() => undefined);
    jwtRecord.close();
    joinTokens.close();
    authority.close();
  };
  return { folder, authority, tokens, joinTokens, jwtKeys, jwtRecord, issuers, store, close };
}

type State = Awaited<ReturnType<typeof openState>>;

/** The CA that the replicas of a cluster share; undefined where this control plane has its own. */
async function openSharedCa(api: KubernetesApi, { caSecret: secret }: ClusterPlace, options: ControlPlaneOptions, clock: Clock) {
  if (secret === undefined) return undefined;
  const { state, settings, logger, signal } = options;
  const folder = join(resolve(state), "ca-secret");
  ensurePrivateFolder(resolve(state));
  const { trustDomain } = settings;
  const common = { api, logger, clock, secret, ...(signal === undefined ? {} : { signal }) };
  const opened = await openCaSecret({ ...common, folder, trustDomain });
  return {
    ca: { ca: { folder } },
    openState: ({ authority, jwtKeys }: State) => openSharedState({ ...common, authority, jwtKeys }),
    close: () => opened.close(),
  };
}

/** Policies on their way to the proxies: mesh -> publisher -> cache -> streams. */
function openPublishing(options: ControlPlaneOptions, mesh: MeshState, admission: AdmissionOptions): AdsService {
  const { logger } = options;
  const cache = new ResourceCache();
  const publisher = new Publisher(cache, RENDERERS, mesh.current, logger);
  mesh.onChange((view) => publisher.publish(view));
  const ads = createAdsService({
    cache,
    logger,
    clock: admission.clock,
    admit: streamAdmission(admission),
    connected: (key) => publisher.connected(key),
    disconnected: (key) => publisher.disconnected(key),
  });
  ads.onEvent((event) => logAccepted(logger, event));
  return ads;
}

/** The gRPC services of one port. */
function addServices(
  server: Server,
  options: ControlPlaneOptions,
  state: State,
  mesh: MeshState,
  ads: AdsService,
  admission: AdmissionOptions,
  { tokens: verifier, cluster, ownCluster }: OpenedSource,
  registration: RegistrationService,
): void {
  const { logger, settings } = options;
  const { authority, store } = state;
  const { clock, trust } = admission;
  const reports = { append: store.append.bind(store), admit: reporterAdmission(admission), clock, logger };
  const serviceOf = (workload: string, listener: string, at: number): string =>
    serviceAt(mesh.current.policies.get(workload), listener, at);
  server.addService(ads.definition, ads.implementation);
  server.addService(serviceDefinition(AccessLogService), createAlsIntake({ ...reports, serviceOf }).implementation);
  server.addService(serviceDefinition(DecisionLog), createDecisionLogIntake(reports).implementation);
  const { joinTokens, jwtKeys, jwtRecord, issuers } = state;
  const { trustDomain } = settings;
  const { identities: outside } = issuers;
  const registrationAuthorities = new Set(options.registrationAuthorities ?? []);
  const accounts = new Set(options.trustedNodeAccounts ?? []);
  addIdentityServices(server, {
    registrationAuthorities,
    nodeProxies: cluster === undefined || accounts.size === 0 ? undefined : { accounts, pods: cluster.source.pods },
    trustDomain,
    authority,
    joinTokens,
    jwtKeys,
    jwtRecord,
    outside,
    verifier,
    ownCluster,
    mesh,
    registration,
    trust,
    clock,
    logger,
  });
}

/** Starts a control plane; it serves when this resolves. Throws what the operator must put right, and leaves nothing open. */
export async function startControlPlane(given: ControlPlaneOptions): Promise<ControlPlane> {
  const { settings, fixed } = await settleSettings(given.config, given.settings, given.fixed ?? {});
  const options = { ...given, settings };
  const { logger, clock = systemClock, version, config } = options;
  const cleanup: (() => void | Promise<void>)[] = [];
  const close = async (): Promise<void> => {
    for (const step of cleanup.splice(0).reverse()) await step();
  };
  try {
    const { place = DEFAULT_CLUSTER_PLACE } = options;
    const api = config.kind === "kubernetes" ? await openKubernetesApi(config) : undefined;
    const shared = api === undefined ? undefined : await openSharedCa(api, place, options, clock);
    cleanup.push(async () => shared?.close());
    const state = await openState({ ...options, ...shared?.ca }, clock);
    cleanup.push(state.close);
    const sharedState = await shared?.openState(state);
    cleanup.push(async () => sharedState?.close());
    const dnsNames = config.kind === "kubernetes" ? serviceNames(place) : [];
    const serving = await startServing({ authority: state.authority, clock, logger, dnsNames });
    cleanup.push(() => serving.close());
    const allowed = options.jwksAllow ?? [];
    const { authority } = state;
    const revoked = () => authority.revocations.forProxies(clock.now());
    const federation = openFederation({ file: options.federation, folder: state.folder, trustDomain: settings.trustDomain, clock, logger });
    cleanup.push(() => federation?.close());
    const meshRoots = openMeshRoots({ folder: state.folder, allowed, clock, logger });
    cleanup.push(() => meshRoots.close());
    const federated = () => [...(federation?.bundles.keys() ?? []), ...meshRoots.fetched];
    const { mesh, jwks, apply } = openMeshWithKeys({ settings, fixed, logger, clock, folder: state.folder, allowed, revoked, federated });
    authority.revocations.onChange(() => mesh.refreshTrust());
    federation?.useAliases(() => mesh.current.snapshot.meshConfig.trustDomainAliases);
    federation?.onChange(() => mesh.refreshTrust());
    followMesh(meshRoots, mesh);
    cleanup.push(() => jwks.close());
    const replica = newReplica();
    const registrationGraceMs = options.registrationGraceMs ?? REGISTRATION_GRACE_MS;
    const registrations = openRegistrations({
      folder: state.folder,
      isCluster: api !== undefined,
      graceMs: registrationGraceMs,
      apply,
      logger,
    });
    cleanup.push(() => registrations.close());
    const source = await openSource(config, {
      logger,
      apply: registrations.apply,
      tokens: state.tokens,
      rootNamespace: settings.rootNamespace,
      api,
      clusters: { own: place.name ?? DEFAULT_CLUSTER_NAME, others: place.others },
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    });
    cleanup.push(() => source.close());
    refuseUnusableMesh(mesh.current.diagnostics);
    source.wantSecrets(namedSecrets(mesh.current.snapshot));
    mesh.onChange(({ snapshot }) => source.wantSecrets(namedSecrets(snapshot)));

    const admission = { snapshot: () => mesh.current.snapshot, trust: () => state.authority.trust, clock };
    const ads = openPublishing(options, mesh, admission);
    const server = new Server(ADS_SERVER_OPTIONS);
    cleanup.push(() => stopServer(server));
    cleanup.push(() => ads.close());
    const registration = registrations.serve({ mesh, admission, cluster: source.cluster, replica, clock });
    addServices(server, options, state, mesh, ads, admission, source, registration);
    const trust = openTrust({ ...state, admission, federation, meshRoots, mesh, logger });
    cleanup.push(() => trust.close());
    server.addService(serviceDefinition(TrustBundles), trust.service.implementation);
    const names = new NamesService({
      tableOf: (workload) => mesh.current.namesOf(workload),
      admit: followerAdmission(admission),
      clock,
      logger,
    });
    mesh.onChange(() => names.publish());
    cleanup.push(() => names.close());
    server.addService(serviceDefinition(NameTables), names.implementation);
    const tlsPort = await listenTls(server, { listen: options.listen, material: serving.material });
    cleanup.push(() => tlsPort.close());
    const listen = { host: options.listen.host, port: tlsPort.port };
    if (options.crlListen !== undefined) {
      const crl = await serveCrl({ listen: options.crlListen, lists: () => authority.revocationLists(), clock, logger });
      cleanup.push(() => crl.close());
    }
    trust.onWithdrawal(() => tlsPort.drain(DRAIN_MS));

    const endpoint = await openBundleEndpoint(options, () => trust.source.own, serving.material, logger);
    cleanup.push(() => endpoint?.close());
    const adminSocket = join(state.folder, "admin.sock");
    const routes = adminRoutes({
      version,
      listen: () => `${listen.host}:${listen.port}`,
      mesh,
      jwks,
      tokens: state.tokens,
      authority,
      serving,
      clock,
      revoke: revocationRoute({ authority, accounts: () => mesh.current.snapshot.identities, ads, trust, clock, logger }),
      mtls: mtlsRoute({ mesh, store: state.store, clock, connections: () => ads.connections() }),
      rotateJwt: jwtRotationRoute({ keys: state.jwtKeys, trust, connections: () => ads.connections(), logger }),
      rotate: rotationRoute({
        authority,
        serving,
        trust,
        meshRoots,
        connections: () => ads.connections(),
        snapshot: () => mesh.current.snapshot,
        clock,
        logger,
      }),
      joinTokens: state.joinTokens,
      jwtSvids: state.jwtRecord,
      connections: () => ads.connections(),
      trust,
      federation,
      clusters: source.clusters,
      meshRoots,
      audit: auditHandler(state.store, { clock }),
    });
    const admin = await serveAdmin(adminSocket, routes, logger);
    cleanup.push(() => {
      admin.close();
      admin.closeAllConnections();
    });
    if (source.cluster !== undefined) {
      const { cluster } = source;
      const duties = await startClusterDuties({
        cluster,
        place,
        replica,
        registrationGraceMs,
        authority,
        material: serving.material,
        mesh,
        ads,
        clock,
        logger,
        registrationAuthorities: options.registrationAuthorities ?? [],
      });
      cleanup.push(() => duties.close());
    }
    const identity = formatSpiffeId(servingIdentity(settings.trustDomain));
    writeControlPlaneFile(state.folder, {
      pid: process.pid,
      ...listen,
      identity,
      trustDomain: settings.trustDomain,
      rootCertificate: state.authority.rootsFile,
      adminSocket,
    });
    logger.log("info", "control plane serves", {
      listen: `${listen.host}:${listen.port}`,
      identity,
      config: source.name,
      state: state.folder,
    });
    return { listen, adminSocket, close };
  } catch (error) {
    await close();
    throw error;
  }
}
