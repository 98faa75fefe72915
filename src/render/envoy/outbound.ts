/** Outbound listeners: the application -> the proxy. */
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import type { OutboundListener, UpstreamService } from "../../compile/workload-policy.ts";
import { TrafficDirection } from "../../gen/envoy/config/core/v3/base_pb.js";
import type { FilterSchema } from "../../gen/envoy/config/listener/v3/listener_components_pb.js";
import { type Listener, ListenerSchema } from "../../gen/envoy/config/listener/v3/listener_pb.js";
import { refusedOutboundHttpLog, refusedOutboundTcpLog } from "./access-log.ts";
import { toAddress } from "./cluster.ts";
import { outboundHttp } from "./http-connection-manager.ts";
import { ALONE } from "./listener.ts";
import { outboundClusterName } from "./outbound-cluster.ts";
import { virtualHost } from "./routes.ts";
import { outboundTcp } from "./tcp-proxy.ts";

type FilterInit = MessageInitShape<typeof FilterSchema>;

/** What is sent again: nothing of it has been processed by anybody. */
export const RETRY = { retryOn: "connect-failure,refused-stream,reset-before-request", numRetries: 2 };

/** A service's names as its clients write them; the short one only inside its namespace, so that no two services share one. */
function domainsOf({ service, host }: UpstreamService, namespace: string): readonly string[] {
  const [ownNamespace = "", name = ""] = service.split("/");
  // A ServiceEntry's host has no shorter form.
  if (name === host) return [host];
  const names = [host, `${name}.${ownNamespace}.svc`, `${name}.${ownNamespace}`];
  return ownNamespace === namespace ? [...names, name] : names;
}

/** What listeners of the application say of it. */
export interface OutboundClient {
  readonly namespace: string;
}

function httpFilter({ namespace }: OutboundClient, { name, services }: OutboundListener): FilterInit {
  const virtualHosts = services.map((service) =>
    virtualHost({
      name: outboundClusterName(service),
      domains: services.length === 1 ? ["*"] : domainsOf(service, namespace),
      cluster: outboundClusterName(service),
      retry: RETRY,
    }),
  );
  // A cluster that Envoy does not take, for a file that is not there, must not keep the listener from the others.
  const routes = { name, virtualHosts, ignorePortInHostMatching: true, validateClusters: false };
  return outboundHttp({ name, routes, filters: [], accessLog: refusedOutboundHttpLog(name) });
}

function tcpFilter(service: UpstreamService, { name }: OutboundListener): FilterInit {
  return outboundTcp({ name, cluster: outboundClusterName(service), accessLog: refusedOutboundTcpLog(name) });
}

/** The listener of the application's own connections. */
export function outboundListener(client: OutboundClient, listener: OutboundListener): Listener {
  const { name, bind, protocol, services } = listener;
  const filters = protocol === "tcp" ? services.slice(0, 1).map((service) => tcpFilter(service, listener)) : [httpFilter(client, listener)];
  return create(ListenerSchema, {
    name,
    statPrefix: name,
    address: toAddress(bind),
    ...ALONE,
    trafficDirection: TrafficDirection.OUTBOUND,
    filterChains: [{ filters }],
  });
}
