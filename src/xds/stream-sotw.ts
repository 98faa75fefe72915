/** The state-of-the-world variant of ADS (xDS protocol, "The xDS transport Protocol"). */
import { create, toBinary } from "@bufbuild/protobuf";
import { AnySchema } from "@bufbuild/protobuf/wkt";
import { type DiscoveryRequest, DiscoveryResponseSchema } from "../gen/envoy/service/discovery/v3/discovery_pb.js";
import type { Push } from "./push.ts";
import type { Subscription } from "./subscription.ts";
import { asBuffer, type ResponseHeader, type Variant } from "./variant.ts";

function* strings(request: DiscoveryRequest): Iterable<string> {
  yield* request.resourceNames;
  yield request.versionInfo;
}

/** A request that answers an older response is superseded by the one that will answer the newest. */
function isCurrent(subscription: Subscription, request: DiscoveryRequest): boolean {
  const { lastNonce } = subscription;
  return request.responseNonce === "" || lastNonce === undefined || request.responseNonce === lastNonce;
}

function subscribe(subscription: Subscription, request: DiscoveryRequest, first: boolean): void {
  subscription.replace(request.resourceNames);
  if (first) subscription.claim(request.versionInfo);
}

function encode({ typeUrl, nonce, version }: ResponseHeader, push: Push): Buffer {
  const resources = push.resources.map(({ body }) => create(AnySchema, { typeUrl, value: body }));
  const response = create(DiscoveryResponseSchema, { typeUrl, nonce, versionInfo: version, resources });
  return asBuffer(toBinary(DiscoveryResponseSchema, response));
}

export const sotwVariant: Variant<DiscoveryRequest> = {
  name: "sotw",
  strings,
  resumes: ({ versionInfo }) => versionInfo !== "",
  isCurrent,
  subscribe,
  encode,
};
