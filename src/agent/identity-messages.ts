/** The messages of `garrison.v1.JwtSvidAuthority` and `WorkloadDirectory` (proto/garrison/v1/identity.proto). */
import type { ClientMethod } from "./control-plane-call.ts";
import { encodeMessage, readFields, textOf } from "./protobuf.ts";
import type { EgressService } from "./service-environment.ts";

export interface IssuedJwtSvid {
  readonly token: string;
  /** Milliseconds since the epoch. */
  readonly issuedAt: number;
  readonly expiresAt: number;
}

export const ISSUE_JWT_SVID: ClientMethod<readonly string[], IssuedJwtSvid> = {
  path: "/garrison.v1.JwtSvidAuthority/IssueJwtSvid",
  requestSerialize: (audiences) => encodeMessage(audiences.map((audience) => [1, audience] as const)),
  responseDeserialize: (bytes) => {
    let token = "";
    let issuedAt = 0;
    let expiresAt = 0;
    readFields(bytes, { 1: (value) => (token = textOf(value)) }, { 2: (value) => (issuedAt = value), 3: (value) => (expiresAt = value) });
    return { token, issuedAt, expiresAt };
  },
};

/** The bundle of the trust domain: a JSON Web Key Set. */
export const GET_JWT_BUNDLE: ClientMethod<undefined, string> = {
  path: "/garrison.v1.JwtSvidAuthority/GetJwtBundle",
  requestSerialize: () => encodeMessage([]),
  responseDeserialize: (bytes) => {
    let jwks = "";
    readFields(bytes, { 1: (value) => (jwks = textOf(value)) });
    return jwks;
  },
};

/** A workload as its control plane describes it. */
export interface WorkloadDescription {
  /** `NAMESPACE/NAME`. */
  readonly workload: string;
  /** A SPIFFE ID. */
  readonly identity: string;
  readonly address: string;
  readonly egress: readonly EgressService[];
  /** Whether its agent is to answer its questions of DNS. */
  readonly dnsCapture: boolean;
}

function egressOf(bytes: Uint8Array): EgressService {
  let [service, host, portName] = ["", "", ""];
  let port = 0;
  readFields(
    bytes,
    { 1: (value) => (service = textOf(value)), 2: (value) => (host = textOf(value)), 4: (value) => (portName = textOf(value)) },
    { 3: (value) => (port = value) },
  );
  return { service, host, port, ...(portName === "" ? {} : { portName }) };
}

/** Asked with `NAMESPACE/NAME`, or with nothing for the only workload of an identity. */
export const DESCRIBE_WORKLOAD: ClientMethod<string, WorkloadDescription> = {
  path: "/garrison.v1.WorkloadDirectory/DescribeWorkload",
  requestSerialize: (workload) => encodeMessage([[1, workload]]),
  responseDeserialize: (bytes) => {
    let [workload, identity, address] = ["", "", ""];
    const egress: EgressService[] = [];
    let dnsCapture = false;
    readFields(
      bytes,
      {
        1: (value) => (workload = textOf(value)),
        2: (value) => (identity = textOf(value)),
        3: (value) => (address = textOf(value)),
        4: (value) => egress.push(egressOf(value)),
      },
      { 5: (value) => (dnsCapture = value !== 0) },
    );
    return { workload, identity, address, egress, dnsCapture };
  },
};
