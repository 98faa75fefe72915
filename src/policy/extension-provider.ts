/**
 * Authorizers outside the mesh's own rules (Istio `MeshConfig.ExtensionProvider`, `envoyExtAuthzHttp` and
 * `envoyExtAuthzGrpc`), decoded: whom a CUSTOM policy asks, what they are told, and what becomes of their answers.
 */
import type { Place } from "../core/diagnostic.ts";
import type { StringMatch } from "./pattern.ts";

/** How much of a request's body an authorizer is shown. */
export interface RequestBodyCheck {
  /** More than this is refused with 413, or cut where a part will do. */
  readonly maxRequestBytes: number;
  readonly allowPartialMessage: boolean;
  /** gRPC: as bytes, not as text. */
  readonly packAsBytes: boolean;
}

/** What both kinds have. */
export interface ExtensionProviderFields {
  readonly name: string;
  /** `HOST`, or `NAMESPACE/HOST` where the namespace says whose it is. */
  readonly service: { readonly namespace: string | undefined; readonly host: string };
  /** The service's port. */
  readonly port: number;
  readonly timeoutMs: number;
  /** Whether a request passes when the authorizer cannot be asked. */
  readonly failOpen: boolean;
  /** The HTTP status of a request that is refused because the authorizer cannot be asked. */
  readonly statusOnError: number;
  readonly clearRouteCache: boolean;
  readonly includeRequestBodyInCheck: RequestBodyCheck | undefined;
  readonly place: Place;
}

/** Asked by a request of HTTP; header names in lower case, patterns compared without regard to case. */
export interface HttpExtensionProvider extends ExtensionProviderFields {
  readonly kind: "http";
  /** Stands before the path of each request to it; empty for none. */
  readonly pathPrefix: string;
  /** Of the request's headers, besides Host, method, path and Authorization, which it is always told. */
  readonly includeRequestHeadersInCheck: readonly StringMatch[];
  readonly includeAdditionalHeadersInCheck: readonly { readonly name: string; readonly value: string }[];
  readonly headersToUpstreamOnAllow: readonly StringMatch[];
  /** Empty: all that the authorizer answers. */
  readonly headersToDownstreamOnDeny: readonly StringMatch[];
  readonly headersToDownstreamOnAllow: readonly StringMatch[];
}

/** Asked by `envoy.service.auth.v3.Authorization/Check`. */
export interface GrpcExtensionProvider extends ExtensionProviderFields {
  readonly kind: "grpc";
}

export type ExtensionProvider = HttpExtensionProvider | GrpcExtensionProvider;
