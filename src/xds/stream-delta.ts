/** The incremental variant of ADS (xDS protocol, "Incremental xDS"). */
import { create, toBinary } from "@bufbuild/protobuf";
import { AnySchema } from "@bufbuild/protobuf/wkt";
import {
  type DeltaDiscoveryRequest,
  DeltaDiscoveryResponseSchema,
  ResourceSchema,
} from "../gen/envoy/service/discovery/v3/discovery_pb.js";
import type { Push } from "./push.ts";
import type { Subscription } from "./subscription.ts";
import { asBuffer, type ResponseHeader, type Variant } from "./variant.ts";

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

function encode({ typeUrl, nonce, version }: ResponseHeader, push: Push): Buffer {
  const resources = push.resources.map((resource) =>
    create(ResourceSchema, {
      name: resource.name,
      version: resource.version,
      resource: create(AnySchema, { typeUrl, value: resource.body }),
    }),
  );
  const response = create(DeltaDiscoveryResponseSchema, {
    typeUrl,
    nonce,
    systemVersionInfo: version,
    resources,
    removedResources: [...push.removed],
  });
  return asBuffer(toBinary(DeltaDiscoveryResponseSchema, response));
}

export const deltaVariant: Variant<DeltaDiscoveryRequest> = { name: "delta", strings, resumes, isCurrent: () => true, subscribe, encode };
