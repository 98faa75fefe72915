/** What the two protocol variants have in common, so that one stream serves both. */
import type { Node } from "../gen/envoy/config/core/v3/base_pb.js";
import type { Status } from "../gen/google/rpc/status_pb.js";
import type { Push } from "./push.ts";
import type { Subscription } from "./subscription.ts";

/** The fields that both variants' requests have. */
export interface DiscoveryRequestBase {
  readonly node?: Node | undefined;
  readonly typeUrl: string;
  readonly responseNonce: string;
  readonly errorDetail?: Status | undefined;
}

/** What a response says beside its resources. */
export interface ResponseHeader {
  readonly typeUrl: string;
  readonly nonce: string;
  readonly version: string;
}

export interface Variant<Request extends DiscoveryRequestBase> {
  readonly name: "delta" | "sotw";
  /** Every name and version that the request carries, to be held against the bounds. */
  strings(request: Request): Iterable<string>;
  /** Whether a first request of a type comes from a client that has been connected before. */
  resumes(request: Request): boolean;
  /** False for a request that must be ignored. */
  isCurrent(subscription: Subscription, request: Request): boolean;
  /** Applies what the request says of names; `first` is the first request of this type on the stream. */
  subscribe(subscription: Subscription, request: Request, first: boolean): void;
  encode(header: ResponseHeader, push: Push): Buffer;
}
