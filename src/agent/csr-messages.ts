/** The messages of `istio.v1.auth.IstioCertificateService` (proto/istio/v1/auth/ca.proto). */
import type { MethodDefinition } from "@grpc/grpc-js";
import { encodeMessage, readFields, textOf } from "./protobuf.ts";

export interface CertificateRequestMessage {
  /** PEM. */
  readonly csr: string;
  /** 0 for the server's default. */
  readonly ttlSeconds: number;
}

/** `cert_chain`: the leaf, each intermediate, the root bundle; PEM. */
export type CertificateChainMessage = readonly string[];

function encodeRequest({ csr, ttlSeconds }: CertificateRequestMessage): Buffer {
  return encodeMessage([
    [1, csr],
    [3, BigInt(ttlSeconds)],
  ]);
}

function decodeResponse(bytes: Uint8Array): CertificateChainMessage {
  const chain: string[] = [];
  readFields(bytes, { 1: (value) => chain.push(textOf(value)) });
  return chain;
}

export const CREATE_CERTIFICATE = {
  path: "/istio.v1.auth.IstioCertificateService/CreateCertificate",
  requestSerialize: encodeRequest,
  responseDeserialize: decodeResponse,
} as const satisfies Partial<MethodDefinition<CertificateRequestMessage, CertificateChainMessage>>;
