/** The names by which replicas of a control plane tell each other apart. */
import { randomBytes } from "node:crypto";

const PREFIX = "garrison-replica-";

/** Unlike any other's, also unlike that of the same pod before it was started anew. */
export function newReplica(): string {
  return `${PREFIX}${randomBytes(5).toString("hex")}`;
}

/** Whether it is a replica's of ours, and no other controller's. */
export function isReplica(name: unknown): name is string {
  return typeof name === "string" && name.startsWith(PREFIX);
}
