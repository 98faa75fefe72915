/** The incremental variant of ADS (xDS protocol, "Incremental xDS"). */
import type { DeltaDiscoveryRequest } from "../gen/envoy/service/discovery/v3/discovery_pb.js";
import { anyOf, type Field, type Message, messageOf, single, writeMessage, writtenOnce } from "./fields.ts";
import type { Push } from "./push.ts";
import type { Resource } from "./resource.ts";
import type { Subscription } from "./subscription.ts";
import type { ResponseHeader, Variant } from "./variant.ts";

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

function resourceOf({ name, version, body }: Resource, typeUrl: string): Message {
  const any: Field = [RESOURCE.resource, anyOf(typeUrl, body)];
  return messageOf([...single(RESOURCE.version, version), any, ...single(RESOURCE.name, name)]);
}

const written = writtenOnce(resourceOf);

function encode({ typeUrl, nonce, version }: ResponseHeader, { resources, removed }: Push): Buffer {
  const fields = [
    ...single(RESPONSE.systemVersionInfo, version),
    ...written(resources, typeUrl).map((resource): Field => [RESPONSE.resources, resource]),
    ...single(RESPONSE.typeUrl, typeUrl),
    ...single(RESPONSE.nonce, nonce),
    ...removed.map((name): Field => [RESPONSE.removedResources, name]),
  ];
  return writeMessage(messageOf(fields));
}

export const deltaVariant: Variant<DeltaDiscoveryRequest> = { name: "delta", strings, resumes, isCurrent: () => true, subscribe, encode };
