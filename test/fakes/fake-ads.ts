/** An ADS service that gives everyone the same few resources, in both variants of the protocol. */
import { create } from "@bufbuild/protobuf";
import { type Any, AnySchema } from "@bufbuild/protobuf/wkt";
import type { ServerDuplexStream, UntypedServiceImplementation } from "@grpc/grpc-js";
import {
  type DeltaDiscoveryRequest,
  type DeltaDiscoveryResponse,
  DeltaDiscoveryResponseSchema,
  type DiscoveryRequest,
  type DiscoveryResponse,
  DiscoveryResponseSchema,
} from "../../src/gen/envoy/service/discovery/v3/discovery_pb.js";

export interface FakeResource {
  readonly name: string;
  readonly typeUrl: string;
  readonly body: Uint8Array;
}

const anyOf = ({ typeUrl, body }: FakeResource): Any => create(AnySchema, { typeUrl, value: body });

/** Each type is answered once a stream. `onStream` sees each stream as it is opened, with the peer's certificate serial in lower-case hex. */
export function fakeAds(resources: readonly FakeResource[], onStream: (serial: string | undefined) => void): UntypedServiceImplementation {
  function serve<Request extends { readonly typeUrl: string }, Response>(
    word: (typeUrl: string, found: readonly FakeResource[]) => Response,
  ) {
    return (call: ServerDuplexStream<Request, Response>) => {
      const answered = new Set<string>();
      onStream(call.getAuthContext().sslPeerCertificate?.serialNumber.toLowerCase());
      call.on("data", ({ typeUrl }: Request) => {
        if (answered.has(typeUrl)) return;
        answered.add(typeUrl);
        call.write(
          word(
            typeUrl,
            resources.filter((resource) => resource.typeUrl === typeUrl),
          ),
        );
      });
      call.on("end", () => call.end());
      call.on("error", () => undefined);
    };
  }
  return {
    StreamAggregatedResources: serve<DiscoveryRequest, DiscoveryResponse>((typeUrl, found) =>
      create(DiscoveryResponseSchema, { typeUrl, versionInfo: "1", nonce: "1", resources: found.map(anyOf) }),
    ),
    DeltaAggregatedResources: serve<DeltaDiscoveryRequest, DeltaDiscoveryResponse>((typeUrl, found) =>
      create(DeltaDiscoveryResponseSchema, {
        typeUrl,
        nonce: "1",
        resources: found.map((resource) => ({ name: resource.name, version: "1", resource: anyOf(resource) })),
      }),
    ),
  };
}
