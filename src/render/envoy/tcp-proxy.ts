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

const ON_DOWNSTREAM_DATA = 1;
const ON_DOWNSTREAM_TLS_HANDSHAKE = 2;

/**
 * Fields that Envoy has (1.37 and later) and the generated messages lack: `upstream_connect_mode` (21), which asks for
 * `max_early_data_bytes` (22), a `google.protobuf.UInt32Value`.
 */
function connectMode(mode: number, earlyBytes: number) {
  const bytes = toBinary(UInt32ValueSchema, create(UInt32ValueSchema, { value: earlyBytes }));
  return [
    { no: 21, wireType: WireType.Varint, data: new BinaryWriter().uint32(mode).finish() },
    { no: 22, wireType: WireType.LengthDelimited, data: new BinaryWriter().bytes(bytes).finish() },
  ];
}

/** Connects when the first byte has come and was let pass. */
const CONNECT_ON_DATA = connectMode(ON_DOWNSTREAM_DATA, EARLY_BYTES);
/** Connects when the peer has proved who it is, or at once in plaintext; its first byte is decided on all the same. */
const CONNECT_ON_HANDSHAKE = connectMode(ON_DOWNSTREAM_TLS_HANDSHAKE, 0);

/**
 * From peers. Envoy's RBAC decides a connection when its first byte comes, and would by then have connected to the
 * application, whose greeting a peer that is about to be denied would read. So nothing is connected before that byte,
 * but where the protocol is known to begin with the server, and else would never begin.
 */
export function inboundTcp(settings: TcpSettings & { readonly serverFirst?: true | undefined }): FilterInit {
  const serverFirst = settings.serverFirst === true;
  // A record is of a decision, of which there is none yet when the application of such a protocol is connected to.
  const proxy = create(TcpProxySchema, { ...common(settings), accessLogOptions: { flushAccessLogOnConnected: !serverFirst } });
  proxy.$unknown = serverFirst ? CONNECT_ON_HANDSHAKE : CONNECT_ON_DATA;
  return { name: "envoy.filters.network.tcp_proxy", configType: { case: "typedConfig", value: anyPack(TcpProxySchema, proxy) } };
}

/** From the application. */
export function outboundTcp(settings: TcpSettings): FilterInit {
  return namedConfig("envoy.filters.network.tcp_proxy", TcpProxySchema, common(settings));
}
