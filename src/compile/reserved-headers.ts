/** Headers that only a workload's own proxy writes: what a client says by them is nothing. */
import { reservedHeaders } from "../policy/authorizer-headers.ts";
import type { StringMatch } from "../policy/pattern.ts";
import type { WorkloadPolicy } from "./workload-policy.ts";

/** What a verified token or an authorizer would write: taken out of every request before anybody is asked of it. */
export function clientMayNotSay({ requestAuthentication = [], authorizers = [] }: WorkloadPolicy): readonly StringMatch[] {
  const outputs = requestAuthentication.flatMap(({ outputPayloadToHeader, outputClaimToHeaders }) => [
    ...(outputPayloadToHeader === undefined ? [] : [outputPayloadToHeader]),
    ...outputClaimToHeaders.map(({ header }) => header),
  ]);
  return [
    ...[...new Set(outputs)].map((value) => ({ kind: "exact", value }) as const),
    ...authorizers.flatMap((authorizer) => (authorizer.kind === "http" ? reservedHeaders(authorizer) : [])),
  ];
}
