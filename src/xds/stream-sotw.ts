/** The state-of-the-world variant of ADS (xDS protocol, "The xDS transport Protocol"). */
import type { DiscoveryRequest } from "../gen/envoy/service/discovery/v3/discovery_pb.js";
import { anyOf, type Field, messageOf, single, writeMessage, writtenOnce } from "./fields.ts";
import type { Push } from "./push.ts";
import type { Resource } from "./resource.ts";
import type { Subscription } from "./subscription.ts";
import type { ResponseHeader, Variant } from "./variant.ts";

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

/** Fields of `DiscoveryResponse`. */
const RESPONSE = { versionInfo: 1, resources: 2, typeUrl: 4, nonce: 5 } as const;

const written = writtenOnce(({ body }: Resource, typeUrl) => anyOf(typeUrl, body));

function encode({ typeUrl, nonce, version }: ResponseHeader, { resources }: Push): Buffer {
  const fields = [
    ...single(RESPONSE.versionInfo, version),
    ...written(resources, typeUrl).map((resource): Field => [RESPONSE.resources, resource]),
    ...single(RESPONSE.typeUrl, typeUrl),
    ...single(RESPONSE.nonce, nonce),
  ];
  return writeMessage(messageOf(fields));
}

export const sotwVariant: Variant<DiscoveryRequest> = {
  name: "sotw",
  strings,
  resumes: ({ versionInfo }) => versionInfo !== "",
  isCurrent,
  subscribe,
  encode,
};
