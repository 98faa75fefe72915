/** `garrison.v1.WorkloadDirectory`: what an agent on another machine must know of its own workload. */
import { create } from "@bufbuild/protobuf";
import type { ServerUnaryCall, sendUnaryData } from "@grpc/grpc-js";
import { type Authenticator, type CallerCredentials, credentialsOf, provenCaller } from "../ca/authenticators.ts";
import { AppError } from "../core/error.ts";
import {
  type DescribeWorkloadRequest,
  type DescribeWorkloadResponse,
  DescribeWorkloadResponseSchema,
} from "../gen/garrison/v1/identity_pb.js";
import { formatSpiffeId } from "../identity/spiffe-id.ts";
import { toGrpcStatus } from "../rpc/status.ts";
import type { WorkloadSummary } from "./workloads.ts";

export interface WorkloadDirectoryOptions {
  /** Tried in order; the first that proves an identity decides. */
  readonly authenticators: readonly Authenticator[];
  /** The workload that a join token is bound to. */
  readonly boundWorkload: (credentials: CallerCredentials) => string | undefined;
  readonly workloads: () => readonly WorkloadSummary[];
  /** The name here of a workload that is `NAMESPACE/NAME` in its own cluster. */
  readonly qualified: (workload: string, cluster: string) => string;
}

type Call = ServerUnaryCall<DescribeWorkloadRequest, DescribeWorkloadResponse>;

/** A caller learns nothing of workloads that are not its own. */
function choose(own: readonly WorkloadSummary[], identity: string, wanted: string): WorkloadSummary {
  if (wanted !== "") {
    const found = own.find(({ workload }) => workload === wanted);
    if (found !== undefined) return found;
    throw new AppError("permission-denied", `\`${identity}\` is not the identity of a workload \`${wanted.slice(0, 300)}\``);
  }
  const [only] = own;
  if (own.length === 1 && only !== undefined) return only;
  const names = own.map(({ workload }) => workload).join(", ");
  throw new AppError(
    "not-found",
    own.length === 0 ? `no workload has the identity \`${identity}\`` : `which workload is it? ${names} have this identity`,
  );
}

async function describe(
  { authenticators, boundWorkload, workloads, qualified }: WorkloadDirectoryOptions,
  call: Call,
): Promise<DescribeWorkloadResponse> {
  const credentials = credentialsOf(call);
  const identity = formatSpiffeId((await provenCaller(authenticators, credentials)).identity);
  const own = workloads().filter((summary) => summary.identity === identity);
  const wanted =
    call.request.workload === "" ? (boundWorkload(credentials) ?? "") : qualified(call.request.workload, credentials.cluster?.[0] ?? "");
  const { workload, address, egress, dnsCapture } = choose(own, identity, wanted);
  return create(DescribeWorkloadResponseSchema, { workload, identity, address, egress: [...egress], dnsCapture });
}

/** The service's handlers, for `server.addService(serviceDefinition(WorkloadDirectory), …)`. */
export function workloadDirectory(options: WorkloadDirectoryOptions) {
  return {
    DescribeWorkload(call: Call, callback: sendUnaryData<DescribeWorkloadResponse>): void {
      describe(options, call).then(
        (response) => callback(null, response),
        (thrown: unknown) => callback(toGrpcStatus(AppError.from(thrown))),
      );
    },
  };
}
