/** Who a client says it is. Nothing here is proved: `admit` holds it against the certificate. */
import type { JsonObject } from "@bufbuild/protobuf";
import { AppError } from "../core/error.ts";
import type { Node } from "../gen/envoy/config/core/v3/base_pb.js";
import { checkString } from "./limits.ts";

export interface XdsNode {
  readonly id: string;
  readonly cluster: string;
  readonly metadata: Readonly<JsonObject>;
  /** `envoy 1.40.0`, or empty. */
  readonly userAgent: string;
}

function userAgentVersion({ userAgentVersionType: type }: Node): string {
  if (type.case === "userAgentVersion") return type.value;
  const version = type.case === "userAgentBuildVersion" ? type.value.version : undefined;
  return version === undefined ? "" : `${version.majorNumber}.${version.minorNumber}.${version.patch}`;
}

/** The node of a stream's first request; throws where there is none or it is out of bounds. */
export function decodeNode(node: Node | undefined): XdsNode {
  if (node === undefined || node.id === "") throw new AppError("invalid-argument", "the first request on a stream carries no node id");
  const userAgent = `${node.userAgentName} ${userAgentVersion(node)}`.trim();
  checkString("the node id", node.id);
  checkString("the node's cluster", node.cluster);
  checkString("the user agent", userAgent);
  return { id: node.id, cluster: node.cluster, metadata: node.metadata ?? {}, userAgent };
}
