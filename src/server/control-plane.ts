/** The composition root of the control plane: where things are built and joined. */
import { join, resolve } from "node:path";
import { Server } from "@grpc/grpc-js";
import { createAlsIntake } from "../audit/als-intake.ts";
import { createDecisionLogIntake } from "../audit/decision-log-intake.ts";
import { auditHandler } from "../audit/http.ts";
import { AuditStore } from "../audit/store.ts";
import { clientCertificateAuthenticator, tokenAuthenticator } from "../ca/authenticators.ts";
import { openAuthority } from "../ca/authority.ts";
import { certificateService } from "../ca/csr-service.ts";
import { TokenIssuer } from "../ca/service-account-token.ts";
import { servingIdentity, startServing } from "../ca/serving.ts";
import { type Clock, systemClock } from "../core/clock.ts";
import type { Logger } from "../core/logger.ts";
import { AccessLogService } from "../gen/envoy/service/accesslog/v3/als_pb.js";
import { DecisionLog } from "../gen/garrison/v1/proxy_pb.js";
import { IstioCertificateService } from "../gen/istio/v1/auth/ca_pb.js";
import { formatSpiffeId } from "../identity/spiffe-id.ts";
import type { MeshSettings } from "../mesh/snapshot.ts";
import { serverCredentials } from "../rpc/credentials.ts";
import { serviceDefinition } from "../rpc/service.ts";
import { watchFolder } from "../sources/folder-watcher.ts";
import { ResourceCache } from "../xds/cache.ts";
import type { XdsEvent } from "../xds/connection.ts";
import { ADS_SERVER_OPTIONS, type AdsService, createAdsService } from "../xds/service.ts";
import { serveAdmin } from "./admin.ts";
import { adminRoutes } from "./admin-routes.ts";
import { reporterAdmission, streamAdmission } from "./admission.ts";
import { writeControlPlaneFile } from "./files.ts";
import { bindServer } from "./listen.ts";
import { MeshState } from "./mesh-state.ts";
import { Publisher } from "./publisher.ts";
import { RENDERERS } from "./render.ts";

export interface ControlPlaneOptions {
  /** The folder of YAML. */
  readonly config: string;
  /** The state folder; made with mode 0700 where there is none. */
  readonly state: string;
  /** Where gRPC is served; port 0 takes any free one. */
  readonly listen: { readonly host: string; readonly port: number };
  readonly settings: MeshSettings;
  readonly version: string;
  readonly logger: Logger;
  readonly clock?: Clock;
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

/** Starts a control plane; it serves when this resolves. Throws what the operator must put right. */
export async function startControlPlane(options: ControlPlaneOptions): Promise<ControlPlane> {
  const { settings, logger, clock = systemClock, version } = options;
  const state = resolve(options.state);
  const authority = openAuthority({ stateFolder: state, trustDomain: settings.trustDomain, clock, logger });
  const identity = formatSpiffeId(servingIdentity(settings.trustDomain));
  const tokens = new TokenIssuer({ stateFolder: state, issuer: `https://${settings.trustDomain}`, clock });
  const serving = startServing({ authority, clock, logger });
  const store = new AuditStore({ file: join(state, "audit.sqlite"), clock, logger });

  const mesh = new MeshState(settings, logger);
  const watcher = await watchFolder({ folder: resolve(options.config), logger, onSnapshot: (configuration) => mesh.apply(configuration) });

  const cache = new ResourceCache();
  const publisher = new Publisher(cache, RENDERERS, mesh.current, logger);
  mesh.onChange((view) => publisher.publish(view));
  const admission = { snapshot: () => mesh.current.snapshot, roots: () => authority.roots, clock };
  const ads: AdsService = createAdsService({
    cache,
    logger,
    clock,
    admit: streamAdmission(admission),
    connected: (key) => publisher.connected(key),
    disconnected: (key) => publisher.disconnected(key),
  });
  ads.onEvent((event) => logAccepted(logger, event));

  const reports = { append: store.append.bind(store), admit: reporterAdmission(admission), clock, logger };
  const serviceOf = (workload: string, listener: string): string =>
    mesh.current.policies.get(workload)?.inbound.find(({ name }) => name === listener)?.services[0] ?? "";
  const server = new Server(ADS_SERVER_OPTIONS);
  server.addService(ads.definition, ads.implementation);
  server.addService(serviceDefinition(AccessLogService), createAlsIntake({ ...reports, serviceOf }).implementation);
  server.addService(serviceDefinition(DecisionLog), createDecisionLogIntake(reports).implementation);
  server.addService(serviceDefinition(IstioCertificateService), {
    ...certificateService({
      authority,
      logger,
      knows: (caller) => mesh.current.snapshot.identities.has(formatSpiffeId(caller)),
      authenticators: [
        clientCertificateAuthenticator({ trustDomain: settings.trustDomain, roots: () => authority.roots, clock }),
        tokenAuthenticator({ trustDomain: settings.trustDomain, tokens }),
      ],
    }),
  });
  const close = async (): Promise<void> => {
    watcher.close();
    ads.close();
    await stopServer(server);
    serving.close();
    store.close();
    authority.close();
  };

  const adminSocket = join(state, "admin.sock");
  try {
    const port = await bindServer(server, options.listen, serverCredentials(serving.material));
    const listen = { host: options.listen.host, port };
    const routes = adminRoutes({
      version,
      listen: () => `${listen.host}:${port}`,
      mesh,
      tokens,
      connections: () => ads.connections(),
      audit: auditHandler(store, { clock }),
    });
    const admin = await serveAdmin(adminSocket, routes, logger);
    writeControlPlaneFile(state, {
      pid: process.pid,
      host: listen.host,
      port,
      identity,
      trustDomain: settings.trustDomain,
      rootCertificate: join(state, "ca", "root-cert.pem"),
      adminSocket,
    });
    logger.log("info", "control plane serves", { listen: `${listen.host}:${port}`, identity, config: options.config, state });
    return {
      listen,
      adminSocket,
      close: async () => {
        admin.close();
        admin.closeAllConnections();
        await close();
      },
    };
  } catch (error) {
    await close();
    throw error;
  }
}
