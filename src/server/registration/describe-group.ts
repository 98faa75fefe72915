/** `garrison.v1.WorkloadRegistration/DescribeGroup`: what a machine would be, before it uses up its token. */
import { create } from "@bufbuild/protobuf";
import type { ServerUnaryCall, sendUnaryData } from "@grpc/grpc-js";
import { type Authenticator, credentialsOf, provenCaller } from "../../ca/authenticators.ts";
import { AppError } from "../../core/error.ts";
import {
  type DescribeGroupRequest,
  type DescribeGroupResponse,
  DescribeGroupResponseSchema,
} from "../../gen/garrison/v1/registration_pb.js";
import { formatSpiffeId } from "../../identity/spiffe-id.ts";
import { isCaptured, type MeshSnapshot, namesOf } from "../../mesh/snapshot.ts";
import { toGrpcStatus } from "../../rpc/status.ts";
import { admitMember } from "./claim.ts";
import { registeredEntry } from "./member.ts";

type Call = ServerUnaryCall<DescribeGroupRequest, DescribeGroupResponse>;

export interface DescribeGroupOptions {
  /** Tried in order; the first that proves an identity decides. */
  readonly authenticators: readonly Authenticator[];
  readonly snapshot: () => MeshSnapshot;
}

async function describe({ authenticators, snapshot }: DescribeGroupOptions, call: Call): Promise<DescribeGroupResponse> {
  const identity = formatSpiffeId((await provenCaller(authenticators, credentialsOf(call))).identity);
  const now = snapshot();
  const { group, address } = call.request;
  const admitted = admitMember(now, { identity, group, address, peer: call.getPeer() });
  const { workload, address: canonical } = admitted.member;
  const entry = registeredEntry(admitted.group, admitted.member, undefined);
  const { defaultConfig } = now.meshConfig;
  const captured = isCaptured(entry, defaultConfig);
  const dnsCapture = captured && namesOf(entry, defaultConfig).dnsCapture === true;
  return create(DescribeGroupResponseSchema, { workload, identity, address: canonical, captured, dnsCapture });
}

/** The handler, for `server.addService(serviceDefinition(WorkloadRegistration), …)`. */
export function describeGroup(options: DescribeGroupOptions) {
  return (call: Call, callback: sendUnaryData<DescribeGroupResponse>): void => {
    describe(options, call).then(
      (response) => callback(null, response),
      (thrown: unknown) => callback(toGrpcStatus(AppError.from(thrown))),
    );
  };
}
