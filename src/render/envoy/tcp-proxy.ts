/** The TCP proxy filter, inbound and outbound. */
import { create, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import { anyPack, UInt32ValueSchema } from "@bufbuild/protobuf/wkt";
import type { AccessLog } from "../../gen/envoy/config/accesslog/v3/accesslog_pb.js";
import type { FilterSchema } from "../../gen/envoy/config/listener/v3/listener_components_pb.js";
import { TcpProxySchema } from "../../gen/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy_pb.js";
import { namedConfig } from "./any.ts";

/** What is kept of a connection while the application is being connected to. */
const EARLY_BYTES = 65_536;

type FilterInit = MessageInitShape<typeof FilterSchema>;

export interface TcpSettings {
  /** The listener's name. */
  readonly name: string;
  readonly cluster: string;
  readonly accessLog: AccessLog;
}

function common({ name, cluster, accessLog }: TcpSettings) {
  return { statPrefix: name, clusterSpecifier: { case: "cluster", value: cluster } as const, accessLog: [accessLog] };
}

/**
 * Fields that Envoy has (1.37 and later) and the generated messages lack: `upstream_connect_mode` (21) of
 * ON_DOWNSTREAM_DATA (1), which asks for `max_early_data_bytes` (22), a `google.protobuf.UInt32Value`.
 */
const CONNECT_ON_DATA = [
  { no: 21, wireType: WireType.Varint, data: new BinaryWriter().uint32(1).finish() },
  {
    no: 22,
    wireType: WireType.LengthDelimited,
    data: new BinaryWriter().bytes(toBinary(UInt32ValueSchema, create(UInt32ValueSchema, { value: EARLY_BYTES }))).finish(),
  },
];

/**
 * From peers. Envoy's RBAC decides a connection when its first byte comes, and would by then have connected to the
 * application, whose greeting a peer that is about to be denied would read. So nothing is connected before that byte.
 * The price: a protocol in which the server speaks first (MySQL, SMTP) never begins.
 */
export function inboundTcp(settings: TcpSettings): FilterInit {
  const proxy = create(TcpProxySchema, { ...common(settings), accessLogOptions: { flushAccessLogOnConnected: true } });
  proxy.$unknown = CONNECT_ON_DATA;
  return { name: "envoy.filters.network.tcp_proxy", configType: { case: "typedConfig", value: anyPack(TcpProxySchema, proxy) } };
}

/** From the application. */
export function outboundTcp(settings: TcpSettings): FilterInit {
  return namedConfig("envoy.filters.network.tcp_proxy", TcpProxySchema, common(settings));
}
