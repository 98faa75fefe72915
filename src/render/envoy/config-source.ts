/** Where an Envoy gets what a resource refers to. Without a time limit: what has not come yet stays closed. */
import { create, type DescMessage, type MessageInitShape } from "@bufbuild/protobuf";
import {
  ApiConfigSource_ApiType,
  ApiVersion,
  type ConfigSource,
  ConfigSourceSchema,
  type ExtensionConfigSourceSchema,
} from "../../gen/envoy/config/core/v3/config_source_pb.js";
import type { SdsSecretConfigSchema } from "../../gen/envoy/extensions/transport_sockets/tls/v3/secret_pb.js";
import { duration, typeUrl } from "./any.ts";
import { SDS_CLUSTER } from "./names.ts";

/** The control plane's stream. */
export function adsSource(): ConfigSource {
  return create(ConfigSourceSchema, {
    configSourceSpecifier: { case: "ads", value: {} },
    resourceApiVersion: ApiVersion.V3,
    initialFetchTimeout: duration(0),
  });
}

/** A filter that comes by ECDS, as one of these messages. No default: its listener waits for it. */
export function discoveredFilter(...schemas: readonly DescMessage[]): MessageInitShape<typeof ExtensionConfigSourceSchema> {
  return { configSource: adsSource(), typeUrls: schemas.map(typeUrl) };
}

/** A secret that the control plane serves: certificates for outsiders. */
export function servedSecret(name: string): MessageInitShape<typeof SdsSecretConfigSchema> {
  return { name, sdsConfig: adsSource() };
}

/** A secret that the agent serves. */
export function agentSecret(name: string): MessageInitShape<typeof SdsSecretConfigSchema> {
  const sdsConfig = create(ConfigSourceSchema, {
    configSourceSpecifier: {
      case: "apiConfigSource",
      value: {
        apiType: ApiConfigSource_ApiType.GRPC,
        transportApiVersion: ApiVersion.V3,
        setNodeOnFirstMessageOnly: true,
        grpcServices: [{ targetSpecifier: { case: "envoyGrpc", value: { clusterName: SDS_CLUSTER } } }],
      },
    },
    resourceApiVersion: ApiVersion.V3,
    initialFetchTimeout: duration(0),
  });
  return { name, sdsConfig };
}
