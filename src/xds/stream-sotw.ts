/** The state-of-the-world variant of ADS (xDS protocol, "The xDS transport Protocol"). */
import { BinaryWriter } from "@bufbuild/protobuf/wire";
import type { DiscoveryRequest } from "../gen/envoy/service/discovery/v3/discovery_pb.js";
import type { Push } from "./push.ts";
import type { Subscription } from "./subscription.ts";
import { asBuffer, type ResponseHeader, type Variant, writeAny, writeText } from "./variant.ts";

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

function encode({ typeUrl, nonce, version }: ResponseHeader, push: Push): Buffer {
  const writer = new BinaryWriter();
  writeText(writer, RESPONSE.versionInfo, version);
  for (const { body } of push.resources) writeAny(writer, RESPONSE.resources, typeUrl, body);
  writeText(writer, RESPONSE.typeUrl, typeUrl);
  writeText(writer, RESPONSE.nonce, nonce);
  return asBuffer(writer.finish());
}

export const sotwVariant: Variant<DiscoveryRequest> = {
  name: "sotw",
  strings,
  resumes: ({ versionInfo }) => versionInfo !== "",
  isCurrent,
  subscribe,
  encode,
};
