/** A request as one workload's proxy gets it: callers by their accounts have identities, and a service's port leads to the workload's. */
import { formatSpiffeId, parseServiceAccount } from "../identity/spiffe-id.ts";
import { parseTrustDomain } from "../identity/trust-domain.ts";
import type { TestRequest } from "./test-request.ts";
import type { WorkloadView } from "./workload-view.ts";

/** The port of a service that was asked for, and the workload's behind it. */
export interface ServicePortAnswer {
  /** `NAMESPACE/NAME`. */
  readonly service: string;
  readonly port: number;
  readonly target: number;
}

export interface AskedRequest {
  readonly request: TestRequest;
  /** Absent where the workload was asked, or a port that only the workload has. */
  readonly service?: ServicePortAnswer;
}

/** The identity of a caller: an account without a trust domain is of the mesh's own. */
function callerOf(from: string, trustDomain: string): string {
  if (from.includes("://")) return from;
  const { namespace, name } = parseServiceAccount(from);
  return formatSpiffeId({ trustDomain: parseTrustDomain(trustDomain), namespace, serviceAccount: name });
}

/** What a service's port means here: the one that is asked for, or its only one. */
function targetOf({ service }: WorkloadView, { port }: TestRequest): ServicePortAnswer | undefined {
  if (service === undefined) return undefined;
  const { name, ports } = service;
  const meant = port === undefined ? (ports.length === 1 ? ports[0] : undefined) : ports.find((each) => each.port === port);
  return meant?.target === undefined ? undefined : { service: name, port: meant.port, target: meant.target };
}

/** The request of a question about a workload, or about a service before it. */
export function askedOf(view: WorkloadView, request: TestRequest): AskedRequest {
  const from = request.from === undefined ? undefined : callerOf(request.from, view.policy.trustDomains[0] ?? "");
  const service = targetOf(view, request);
  if (service === undefined) return { request: { ...request, from } };
  return { request: { ...request, from, port: service.target }, service };
}
