/** What a reader should know of Gateways and VirtualServices. */
import type { Diagnostic } from "../core/diagnostic.ts";
import { gatewayKey, gatewaysOf } from "../mesh/gateways.ts";
import { defaultExportTo, isExportedTo } from "../mesh/registry.ts";
import { sidecarOf } from "../mesh/selection.ts";
import type { MeshSnapshot } from "../mesh/snapshot.ts";
import type { VirtualServiceObject } from "../policy/model.ts";
import { destinationOf, sharedHosts } from "./gateway-routes.ts";

function unselecting(snapshot: MeshSnapshot): readonly Diagnostic[] {
  if (snapshot.gateways.length === 0) return [];
  const serving = new Set([...snapshot.workloads.values()].flatMap((workload) => gatewaysOf(snapshot, workload)));
  return snapshot.gateways
    .filter((gateway) => !serving.has(gateway))
    .map((gateway) => ({
      code: "GAR0103",
      message: `the selector of Gateway \`${gatewayKey(gateway)}\` selects no workload`,
      place: gateway.meta.place,
      help: "a Gateway is for workloads of its own namespace; a workload is for those of others with the annotation `inject.istio.io/templates: gateway`",
    }));
}

/** Two things that say what a workload listens on. */
function besideSidecar(snapshot: MeshSnapshot): readonly Diagnostic[] {
  if (snapshot.gateways.length === 0) return [];
  return [...snapshot.workloads.values()].flatMap((workload): Diagnostic[] => {
    const [gateway] = gatewaysOf(snapshot, workload);
    const sidecar = sidecarOf(snapshot, workload);
    if (gateway === undefined || sidecar === undefined || sidecar.selector.size === 0) return [];
    const message = `Sidecar \`${sidecar.meta.namespace}/${sidecar.meta.name}\` selects workload \`${workload.key}\`, which is a gateway: only its Gateways count`;
    return [
      { code: "GAR0106", message, place: sidecar.meta.place, help: "a gateway has no application of its own: change one of the selectors" },
    ];
  });
}

function problemsOf(snapshot: MeshSnapshot, service: VirtualServiceObject): readonly Diagnostic[] {
  const { namespace, name, place } = service.meta;
  const known = snapshot.gateways.filter((gateway) => service.gateways.includes(gatewayKey(gateway)));
  const missing = service.gateways.filter((key) => !known.some((gateway) => gatewayKey(gateway) === key));
  const exportTo = defaultExportTo(snapshot, "virtualServices");
  const seeing = known.filter(({ meta }) => isExportedTo(exportTo, namespace, meta.namespace));
  const served = seeing.some((gateway) => gateway.servers.some((server) => sharedHosts({ gateway, server }, service).size > 0));
  const lost = service.http.filter((route) => destinationOf(snapshot, route, namespace) === undefined);
  const who = `VirtualService \`${namespace}/${name}\``;
  return [
    ...missing.map((key): Diagnostic => ({ code: "GAR0102", message: `${who} names Gateway \`${key}\`, which does not exist`, place })),
    ...(known.length === 0 || served
      ? []
      : [
          {
            code: "GAR0301",
            message: `${who} has no host that its Gateways serve`,
            place,
            help: "the `hosts` of a Gateway's server must cover it, and take routes of its namespace, as must `defaultVirtualServiceExportTo` of the MeshConfig",
          } as const,
        ]),
    ...lost.map(
      ({ destination: { host, port, place: at } }): Diagnostic => ({
        code: "GAR0102",
        message: `a route of ${who} leads to \`${host}${port === undefined ? "" : `:${port}`}\`, which is no port of a service: its requests get 503`,
        place: at,
        help: "name a Service as NAME or NAME.NAMESPACE.svc.cluster.local, and `port` where it has several",
      }),
    ),
  ];
}

/** Everything that leads nowhere. */
export function checkGateways(snapshot: MeshSnapshot): readonly Diagnostic[] {
  return [
    ...unselecting(snapshot),
    ...besideSidecar(snapshot),
    ...snapshot.virtualServices.flatMap((service) => problemsOf(snapshot, service)),
  ];
}
