/** The composition root of the control plane: where things are built and joined. */
import { join } from "node:path";
import { Server } from "@grpc/grpc-js";
import { auditHandler } from "../audit/http.ts";
import { servingIdentity, startServing } from "../ca/serving.ts";
import { namedSecrets } from "../compile/gateway-secrets.ts";
import { AppError } from "../core/error.ts";
import { formatSpiffeId } from "../identity/spiffe-id.ts";
import { callBounds } from "../rpc/call-bounds.ts";
import { openKubernetesApi } from "../sources/kubernetes/api.ts";
import { DOUBT, type KnownReplicas } from "../sources/kubernetes/replica-reports.ts";
import { ADS_SERVER_OPTIONS } from "../xds/service.ts";
import type { AdminRoutes } from "./admin.ts";
import { serveAdmin } from "./admin.ts";
import { adminRoutes } from "./admin-routes.ts";
import { followerAdmission } from "./admission.ts";
import { type ClusterStatus, clusterStatuses } from "./cluster/cluster-status.ts";
import { type ClusterDuties, startClusterDuties } from "./cluster/duties.ts";
import { OtherReplicas } from "./cluster/other-replicas.ts";
import { DEFAULT_CLUSTER_NAME, serviceNames } from "./cluster/place.ts";
import { newReplica, replicaAddress } from "./cluster/replica.ts";
import { othersEvidence } from "./cluster/replica-evidence.ts";
import type { ControlPlaneOptions } from "./control-plane-options.ts";
import { serveCrl } from "./crl-listener.ts";
import { answerDecisions } from "./decisions.ts";
import { openBundleEndpoint } from "./federation.ts";
import { writeControlPlaneFile } from "./files.ts";
import { addServices } from "./grpc-services.ts";
import { jwtRotationRoute } from "./jwt-rotation.ts";
import { issuedElsewhere, ledgerRoutes } from "./ledger.ts";
import { formatHostPort, listenTls } from "./listen.ts";
import { serveMetrics } from "./metrics/listener.ts";
import { mtlsRoute } from "./mtls.ts";
import { NamesService } from "./names/names-service.ts";
import { openPublishing } from "./publishing.ts";
import { openRegistrations } from "./registration/open.ts";
import { revocationRoute } from "./revocation.ts";
import { rotationRoute } from "./rotation.ts";
import { openSource } from "./source.ts";
import { refuseUnusableMesh, type Start, settleStart } from "./start.ts";
import { openSharedCa, openState } from "./state.ts";
import { openTrust } from "./trust.ts";
import { openTrustedMesh } from "./trusted-mesh.ts";

export interface ControlPlane {
  readonly listen: { readonly host: string; readonly port: number };
  readonly adminSocket: string;
  close(): Promise<void>;
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

/** The CA, what is kept beside it, and the control plane's own certificate. */
async function openAuthorities({ options, clock, place }: Start, opened: AsyncDisposableStack) {
  const { config, logger } = options;
  const api = config.kind === "kubernetes" ? await openKubernetesApi(config) : undefined;
  const shared = api === undefined ? undefined : await openSharedCa(api, place, options, clock);
  opened.defer(() => shared?.close());
  const state = await openState({ ...options, ...shared?.ca }, clock, opened);
  const sharedState = await shared?.openState(state);
  opened.defer(() => sharedState?.close());
  const dnsNames = config.kind === "kubernetes" ? serviceNames(place) : [];
  const serving = opened.adopt(await startServing({ authority: state.authority, clock, logger, dnsNames }), (each) => each.close());
  return { api, shared, state, serving };
}

type Authorities = Awaited<ReturnType<typeof openAuthorities>>;

/** The mesh with its first configuration in force, and where that comes from. */
async function openMesh(start: Start, { api, state }: Authorities, opened: AsyncDisposableStack) {
  const { options, fixed, clock, place, registrars } = start;
  const { config, settings, logger } = options;
  const { folder, authority, tokens } = state;
  const trusted = opened.adopt(openTrustedMesh(options, { fixed, folder, authority, clock }), (each) => each.close());
  const { mesh, apply } = trusted;
  const graceMs = options.registrationGraceMs ?? REGISTRATION_GRACE_MS;
  const kept = openRegistrations({ folder, isCluster: api !== undefined, graceMs, apply, logger });
  const registrations = opened.adopt(kept, (each) => each.close());
  const following = {
    logger,
    apply: registrations.apply,
    tokens,
    rootNamespace: settings.rootNamespace,
    api,
    clusters: { own: place.name ?? DEFAULT_CLUSTER_NAME, others: place.others, never: registrars },
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  };
  const source = opened.adopt(await openSource(config, following), (each) => each.close());
  refuseUnusableMesh(mesh.current.diagnostics);
  source.wantSecrets(namedSecrets(mesh.current.snapshot));
  mesh.onChange(({ snapshot }) => source.wantSecrets(namedSecrets(snapshot)));
  return { ...trusted, registrations, graceMs, source, replica: newReplica() };
}

type OpenedMesh = Awaited<ReturnType<typeof openMesh>>;

/** The one port of agents and proxies. */
async function serveProxies(start: Start, { state, serving }: Authorities, opening: OpenedMesh, opened: AsyncDisposableStack) {
  const { options, clock, metrics } = start;
  const { logger } = options;
  const { mesh, source, registrations, federation, meshRoots, replica } = opening;
  const admission = { snapshot: () => mesh.current.snapshot, trust: () => state.authority.trust, clock };
  const publishing = openPublishing(mesh, admission, logger, (address) => port.abort(address));
  const server = opened.adopt(new Server({ ...ADS_SERVER_OPTIONS, ...callBounds() }), stopServer);
  const ads = opened.adopt(publishing, (each) => each.close());
  ads.onEvent((event) => metrics.xds(event));
  mesh.onChange(() => metrics.published());
  const registration = registrations.serve({ mesh, admission, cluster: source.cluster, replica, clock });
  const trust = opened.adopt(openTrust({ ...state, admission, federation, meshRoots, mesh, logger }), (each) => each.close());
  const tableOf = (workload: string) => mesh.current.namesOf(workload);
  const admit = followerAdmission(admission);
  const names = opened.adopt(new NamesService({ tableOf, admit, clock, logger }), (each) => each.close());
  mesh.onChange(() => names.publish());
  addServices(server, options, { state, mesh, ads, admission, source, registration, trust, names, metrics, replica });
  const port = opened.adopt(await listenTls(server, { listen: options.listen, material: serving.material }), (each) => each.close());
  trust.onWithdrawal(() => port.drain(DRAIN_MS));
  return { ads, trust, listen: { host: options.listen.host, port: port.port } };
}

type Proxies = Awaited<ReturnType<typeof serveProxies>>;

/** What others verify by, outside the mesh: the list of revoked certificates, and the bundle. */
async function serveOutside(start: Start, { state, shared, serving }: Authorities, { trust }: Proxies, opened: AsyncDisposableStack) {
  const { options, clock } = start;
  const { crlListen: listen, logger } = options;
  const { lists } = state.authority;
  if (listen !== undefined) opened.adopt(await serveCrl({ listen, lists: () => lists.served(), clock, logger }), (each) => each.close());
  const sharedBundle = options.bundleEndpoint === undefined ? undefined : await shared?.openBundle(trust.source);
  opened.defer(() => sharedBundle?.close());
  const ownBundle = () => (sharedBundle === undefined ? trust.source.own : sharedBundle.bundle);
  const endpoint = await openBundleEndpoint(options, ownBundle, serving.material, logger);
  opened.defer(() => endpoint?.close());
  return { ownBundle };
}

/** All that has been opened by the time operators are served. */
interface Parts extends Authorities, OpenedMesh, Proxies, Awaited<ReturnType<typeof serveOutside>> {
  /** What is done in a cluster, once it is. */
  readonly duties: () => ClusterDuties | undefined;
}

function clustersOf({ source, duties }: Parts): readonly ClusterStatus[] {
  return clusterStatuses(source.clusters(), (name) => duties()?.remoteProblems(name) ?? []);
}

/** None where there is no cluster. */
function knownReplicas({ source, duties }: Parts): KnownReplicas {
  return duties()?.replicas ?? { addresses: new Map(), doubt: source.cluster === undefined ? undefined : DOUBT };
}

function routesOf({ options, clock }: Start, parts: Parts): AdminRoutes {
  const { settings, logger, version } = options;
  const { state, serving, mesh, ads, trust, listen, meshRoots, source } = parts;
  const { authority, store } = state;
  const connections = () => ads.connections();
  const others = new OtherReplicas({ trustDomain: settings.trustDomain, material: serving.material, known: () => knownReplicas(parts) });
  // Whose a row is says something only where there can be others.
  const replica = source.cluster === undefined ? "" : parts.replica;
  const snapshot = () => mesh.current.snapshot;
  return adminRoutes({
    ...state,
    ...parts,
    version,
    listen: () => formatHostPort(listen),
    clock,
    revoke: revocationRoute({
      authority,
      accounts: () => snapshot().identities,
      elsewhere: (of) => issuedElsewhere(others, of),
      ads,
      trust,
      clock,
      logger,
    }),
    mtls: mtlsRoute({ mesh, store, clock, connections, others: (since) => othersEvidence(others, since) }),
    ledger: ledgerRoutes({ authority, jwtSvids: state.jwtRecord, replica, others, clock }),
    rotateJwt: jwtRotationRoute({ keys: state.jwtKeys, trust, connections, logger }),
    rotate: rotationRoute({ authority, serving, trust, meshRoots, connections, snapshot, clock, logger }),
    jwtSvids: state.jwtRecord,
    connections,
    clusters: () => clustersOf(parts),
    audit: auditHandler(store, { clock, answer: answerDecisions({ store, replica, others, clock }) }),
  });
}

/** The admin socket. */
async function serveOperators(start: Start, parts: Parts, opened: AsyncDisposableStack): Promise<string> {
  const socket = join(parts.state.folder, "admin.sock");
  opened.adopt(await serveAdmin(socket, routesOf(start, parts), start.options.logger), (server) => {
    server.close();
    server.closeAllConnections();
  });
  return socket;
}

/** The numbers that Prometheus reads, where it is wanted. */
async function serveNumbers({ options, clock, metrics }: Start, parts: Parts, opened: AsyncDisposableStack): Promise<void> {
  const { metricsListen: listen, version, logger } = options;
  const { state, serving, mesh, ads, trust, source, federation, meshRoots } = parts;
  if (listen === undefined) return;
  const sources = {
    version,
    clock,
    authority: state.authority,
    serving,
    mesh,
    store: state.store,
    connections: () => ads.connections(),
    followers: () => trust.service.followers.length,
    clusters: () => clustersOf(parts),
    watches: () => source.cluster?.source.watches() ?? [],
    leads: () => parts.duties()?.leads,
    domains: () => [...(federation?.statuses ?? []), ...meshRoots.statuses],
  };
  opened.adopt(await serveMetrics({ listen, metrics, sources, clock, logger }), (each) => each.close());
}

/** Last, as by its webhooks a kubelet knows that all is served. */
async function startDuties(
  { options, clock, place, metrics }: Start,
  parts: Parts,
  opened: AsyncDisposableStack,
): Promise<ClusterDuties | undefined> {
  const { source, state, serving, mesh, ads, listen, replica, graceMs } = parts;
  if (source.cluster === undefined) return undefined;
  const duties = await startClusterDuties({
    cluster: source.cluster,
    place,
    replica,
    address: replicaAddress(place.replicaAddress, listen),
    registrationGraceMs: graceMs,
    authority: state.authority,
    material: serving.material,
    mesh,
    ads,
    clock,
    logger: options.logger,
    metrics,
    registrationAuthorities: options.registrationAuthorities ?? [],
  });
  return opened.adopt(duties, (each) => each.close());
}

/** Tells the machine's other processes and the log. */
function announce({ settings, logger }: ControlPlaneOptions, { state, source, listen, replica }: Parts, adminSocket: string): void {
  const identity = formatSpiffeId(servingIdentity(settings.trustDomain));
  const { folder, records, authority } = state;
  const { trustDomain } = settings;
  const own = { identity, trustDomain, rootCertificate: authority.rootsFile, adminSocket };
  writeControlPlaneFile(folder, { pid: process.pid, ...listen, ...own, ...(records === folder ? {} : { records }) });
  logger.log("info", "control plane serves", {
    listen: formatHostPort(listen),
    identity,
    config: source.name,
    state: folder,
    ...(source.cluster === undefined ? {} : { replica }),
  });
}

/** Each step closes by `opened` what it opens. */
async function openAll(start: Start, opened: AsyncDisposableStack): Promise<Pick<ControlPlane, "listen" | "adminSocket">> {
  const authorities = await openAuthorities(start, opened);
  const mesh = await openMesh(start, authorities, opened);
  const proxies = await serveProxies(start, authorities, mesh, opened);
  const outside = await serveOutside(start, authorities, proxies, opened);
  let duties: ClusterDuties | undefined;
  const parts: Parts = { ...authorities, ...mesh, ...proxies, ...outside, duties: () => duties };
  const adminSocket = await serveOperators(start, parts, opened);
  await serveNumbers(start, parts, opened);
  duties = await startDuties(start, parts, opened);
  announce(start.options, parts, adminSocket);
  return { listen: proxies.listen, adminSocket };
}

/** Starts a control plane; it serves when this resolves. Throws what the operator must put right, and leaves nothing open. */
export async function startControlPlane(given: ControlPlaneOptions): Promise<ControlPlane> {
  const start = await settleStart(given);
  const opened = new AsyncDisposableStack();
  const close = () => opened.disposeAsync();
  try {
    return { ...(await openAll(start, opened)), close };
  } catch (error) {
    await close().catch((thrown: unknown) => {
      given.logger.log("error", "not all could be closed", { reason: AppError.from(thrown).message });
    });
    throw error;
  }
}
