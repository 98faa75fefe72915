/** Services as listeners name them: what is the same for two states of the mesh, wherever they are served, is the same object. */
import type { CapturedService, UpstreamService } from "../../compile/workload-policy.ts";
import { InternedByKey, InternedLists } from "../../core/interned.ts";
import { keptWith } from "../../core/kept-with.ts";
import type { NamedCapture } from "./capture/outbound.ts";
import type { NamedService } from "./outbound-cluster.ts";

const services = new InternedByKey<NamedService>();
const captures = new InternedByKey<NamedCapture>();
const serviceLists = new InternedLists<NamedService>();
const captureLists = new InternedLists<NamedCapture>();

const named = keptWith((_: object, { service, host, port, protocol }: UpstreamService) =>
  services.of(JSON.stringify([service, host, port, protocol]), () => ({ service, host, port, protocol })),
);

const namedCapture = keptWith((_: object, { addresses, upstream }: CapturedService) => {
  const name = named(upstream, upstream);
  return captures.of(JSON.stringify([name, addresses]), () => ({ addresses, upstream: name }));
});

/** Kept with the list that a policy has. */
export const namedServices = keptWith((_: object, list: readonly UpstreamService[]) =>
  serviceLists.of(list.map((service) => named(service, service))),
);

/** Kept with the list that a policy has. */
export const namedCaptures = keptWith((_: object, list: readonly CapturedService[]) =>
  captureLists.of(list.map((service) => namedCapture(service, service))),
);
