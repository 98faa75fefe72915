/** The incremental variant of ADS (xDS protocol, "Incremental xDS"). */
import { BinaryWriter, WireType } from "@bufbuild/protobuf/wire";
import type { DeltaDiscoveryRequest } from "../gen/envoy/service/discovery/v3/discovery_pb.js";
import type { Push } from "./push.ts";
import type { Subscription } from "./subscription.ts";
import { asBuffer, type ResponseHeader, type Variant, writeAny, writeText } from "./variant.ts";

function* strings(request: DeltaDiscoveryRequest): Iterable<string> {
  yield* request.resourceNamesSubscribe;
  yield* request.resourceNamesUnsubscribe;
  yield* Object.keys(request.initialResourceVersions);
  yield* Object.values(request.initialResourceVersions);
}

function resumes(request: DeltaDiscoveryRequest): boolean {
  return Object.keys(request.initialResourceVersions).length > 0;
}

/** Subscriptions hold even when the nonce is stale: only the answer in the same request is then ignored. */
function subscribe(subscription: Subscription, request: DeltaDiscoveryRequest, first: boolean): void {
  const { resourceNamesSubscribe: wanted, resourceNamesUnsubscribe: unwanted } = request;
  if (wanted.length === 0 && unwanted.length === 0) subscription.subscribeByDefault();
  subscription.subscribe(wanted);
  subscription.unsubscribe(unwanted);
  if (first) subscription.resume(request.initialResourceVersions);
}

/** Fields of `DeltaDiscoveryResponse` and of its `Resource`. */
const RESPONSE = { systemVersionInfo: 1, resources: 2, typeUrl: 4, nonce: 5, removedResources: 6 } as const;
const RESOURCE = { version: 1, resource: 2, name: 3 } as const;

function encode({ typeUrl, nonce, version }: ResponseHeader, push: Push): Buffer {
  const writer = new BinaryWriter();
  writeText(writer, RESPONSE.systemVersionInfo, version);
  for (const resource of push.resources) {
    writer.tag(RESPONSE.resources, WireType.LengthDelimited).fork();
    writeText(writer, RESOURCE.version, resource.version);
    writeAny(writer, RESOURCE.resource, typeUrl, resource.body);
    writeText(writer, RESOURCE.name, resource.name);
    writer.join();
  }
  writeText(writer, RESPONSE.typeUrl, typeUrl);
  writeText(writer, RESPONSE.nonce, nonce);
  for (const name of push.removed) writer.tag(RESPONSE.removedResources, WireType.LengthDelimited).string(name);
  return asBuffer(writer.finish());
}

export const deltaVariant: Variant<DeltaDiscoveryRequest> = { name: "delta", strings, resumes, isCurrent: () => true, subscribe, encode };
