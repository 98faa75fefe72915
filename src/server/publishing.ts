/** Policies on their way to the proxies: mesh -> publisher -> cache -> streams. */
import type { Logger } from "../core/logger.ts";
import { ResourceCache } from "../xds/cache.ts";
import type { XdsEvent } from "../xds/connection.ts";
import { type AdsService, createAdsService } from "../xds/service.ts";
import { type AdmissionOptions, streamAdmission } from "./admission.ts";
import type { MeshState } from "./mesh-state.ts";
import { Publisher } from "./publisher.ts";
import { RENDERERS } from "./render.ts";

/** What proxies accept; that they come, go and refuse is told by the ADS service itself. */
function logAccepted(logger: Logger, event: XdsEvent): void {
  if (event.kind !== "ack") return;
  const { key, typeUrl, version, latencyMs } = event;
  logger.log("debug", "a proxy accepted its configuration", { key, typeUrl, version, latencyMs });
}

/** Publishes every state of the mesh from now on. `abort` ends the connection from an address at once. */
export function openPublishing(mesh: MeshState, admission: AdmissionOptions, logger: Logger, abort: (address: string) => void): AdsService {
  const cache = new ResourceCache();
  const publisher = new Publisher(cache, RENDERERS, mesh.current, logger);
  mesh.onChange((view) => publisher.publish(view));
  const ads = createAdsService({
    cache,
    logger,
    clock: admission.clock,
    admit: streamAdmission(admission),
    abort,
    connected: (key) => publisher.connected(key),
    disconnected: (key) => publisher.disconnected(key),
  });
  ads.onEvent((event) => logAccepted(logger, event));
  return ads;
}
