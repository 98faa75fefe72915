/** The names by which replicas of a control plane tell each other apart, and where they reach each other. */
import { randomBytes } from "node:crypto";
import { formatHostPort } from "../listen.ts";

const PREFIX = "garrison-replica-";

/** Unlike any other's, also unlike that of the same pod before it was started anew. */
export function newReplica(): string {
  return `${PREFIX}${randomBytes(5).toString("hex")}`;
}

/** Whether it is a replica's of ours, and no other controller's. */
export function isReplica(name: unknown): name is string {
  return typeof name === "string" && name.startsWith(PREFIX);
}

/** Where others reach a replica that listens there: at the address that it is said to have, or at its own where that is one. */
export function replicaAddress(said: string | undefined, listen: { readonly host: string; readonly port: number }): string | undefined {
  const host = said ?? listen.host;
  if (host === "0.0.0.0" || host === "::") return undefined;
  return formatHostPort({ host, port: listen.port });
}

/** Whether it is named by its whole name, or by what follows the prefix that all have. */
export function isNamed(replica: string, name: string): boolean {
  return replica !== "" && (name === replica || PREFIX + name === replica);
}
