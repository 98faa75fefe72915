/** The composition root of the control plane: where things are built and joined. */
import { join } from "node:path";
import { Server } from "@grpc/grpc-js";
import { auditHandler } from "../audit/http.ts";
import { servingIdentity, startServing } from "../ca/serving.ts";
import { namedSecrets } from "../compile/gateway-secrets.ts";
import { systemClock } from "../core/clock.ts";
import { formatSpiffeId } from "../identity/spiffe-id.ts";
import { openKubernetesApi } from "../sources/kubernetes/api.ts";
import { ADS_SERVER_OPTIONS } from "../xds/service.ts";
import { serveAdmin } from "./admin.ts";
import { adminRoutes } from "./admin-routes.ts";
import { followerAdmission } from "./admission.ts";
import { clusterStatuses } from "./cluster/cluster-status.ts";
import { type ClusterDuties, startClusterDuties } from "./cluster/duties.ts";
import { DEFAULT_CLUSTER_NAME, DEFAULT_CLUSTER_PLACE, serviceNames } from "./cluster/place.ts";
import { newReplica } from "./cluster/replica.ts";
import { askReplicas, replicaAddress } from "./cluster/replicas.ts";
import type { ControlPlaneOptions } from "./control-plane-options.ts";
import { serveCrl } from "./crl-listener.ts";
import { openBundleEndpoint } from "./federation.ts";
import { writeControlPlaneFile } from "./files.ts";
import { addServices } from "./grpc-services.ts";
import { jwtRotationRoute } from "./jwt-rotation.ts";
import { formatHostPort, listenTls } from "./listen.ts";
import { mtlsRoute } from "./mtls.ts";
import { NamesService } from "./names/names-service.ts";
import { openPublishing } from "./publishing.ts";
import { openRegistrations } from "./registration/open.ts";
import { revocationRoute } from "./revocation.ts";
import { rotationRoute } from "./rotation.ts";
import { openSource } from "./source.ts";
import { refuseUnusableMesh, registrarAccounts, settleSettings } from "./start.ts";
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

/** Starts a control plane; it serves when this resolves. Throws what the operator must put right, and leaves nothing open. */
export async function startControlPlane(given: ControlPlaneOptions): Promise<ControlPlane> {
  const { settings, fixed } = await settleSettings(given.config, given.settings, given.fixed ?? {});
  const options = { ...given, settings };
  const registrars = registrarAccounts(options.registrationAuthorities ?? [], settings);
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
    const { authority } = state;
    const trusted = openTrustedMesh(options, { fixed, folder: state.folder, authority, clock });
    cleanup.push(() => trusted.close());
    const { mesh, jwks, apply, federation, meshRoots } = trusted;
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
      clusters: {
        own: place.name ?? DEFAULT_CLUSTER_NAME,
        others: place.others,
        never: registrars,
      },
      ...(options.signal === undefined ? {} : { signal: options.signal }),
    });
    cleanup.push(() => source.close());
    refuseUnusableMesh(mesh.current.diagnostics);
    source.wantSecrets(namedSecrets(mesh.current.snapshot));
    mesh.onChange(({ snapshot }) => source.wantSecrets(namedSecrets(snapshot)));

    const admission = { snapshot: () => mesh.current.snapshot, trust: () => state.authority.trust, clock };
    const ads = openPublishing(mesh, admission, logger);
    const server = new Server(ADS_SERVER_OPTIONS);
    cleanup.push(() => stopServer(server));
    cleanup.push(() => ads.close());
    const registration = registrations.serve({ mesh, admission, cluster: source.cluster, replica, clock });
    const trust = openTrust({ ...state, admission, federation, meshRoots, mesh, logger });
    cleanup.push(() => trust.close());
    const tableOf = (workload: string) => mesh.current.namesOf(workload);
    const names = new NamesService({ tableOf, admit: followerAdmission(admission), clock, logger });
    mesh.onChange(() => names.publish());
    cleanup.push(() => names.close());
    addServices(server, options, { state, mesh, ads, admission, source, registration, trust, names });
    const tlsPort = await listenTls(server, { listen: options.listen, material: serving.material });
    cleanup.push(() => tlsPort.close());
    const listen = { host: options.listen.host, port: tlsPort.port };
    if (options.crlListen !== undefined) {
      const crl = await serveCrl({ listen: options.crlListen, lists: () => authority.lists.served(), clock, logger });
      cleanup.push(() => crl.close());
    }
    trust.onWithdrawal(() => tlsPort.drain(DRAIN_MS));

    const sharedBundle = options.bundleEndpoint === undefined ? undefined : await shared?.openBundle(trust.source);
    cleanup.push(async () => sharedBundle?.close());
    const ownBundle = () => (sharedBundle === undefined ? trust.source.own : sharedBundle.bundle);
    const endpoint = await openBundleEndpoint(options, ownBundle, serving.material, logger);
    cleanup.push(() => endpoint?.close());
    let duties: ClusterDuties | undefined;
    const askOthers = (since: number) =>
      askReplicas({ trustDomain: settings.trustDomain, material: serving.material, addresses: duties?.replicas ?? new Map(), since });
    const adminSocket = join(state.folder, "admin.sock");
    const routes = adminRoutes({
      version,
      listen: () => formatHostPort(listen),
      mesh,
      jwks,
      tokens: state.tokens,
      authority,
      serving,
      clock,
      revoke: revocationRoute({ authority, accounts: () => mesh.current.snapshot.identities, ads, trust, clock, logger }),
      mtls: mtlsRoute({ mesh, store: state.store, clock, connections: () => ads.connections(), others: askOthers }),
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
      ownBundle,
      federation,
      clusters: () => clusterStatuses(source.clusters(), (name) => duties?.remoteProblems(name) ?? []),
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
      duties = await startClusterDuties({
        cluster,
        place,
        replica,
        address: replicaAddress(place.replicaAddress, listen),
        registrationGraceMs,
        authority,
        material: serving.material,
        mesh,
        ads,
        clock,
        logger,
        registrationAuthorities: options.registrationAuthorities ?? [],
      });
      cleanup.push(() => duties?.close());
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
      listen: formatHostPort(listen),
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
