/** What the agent tells its proxy in a file: whom it serves and where to ask for everything else. */
import type { JsonObject, JsonValue } from "@bufbuild/protobuf";
import { AppError } from "../core/error.ts";

/** The xDS node. */
export interface ProxyNode {
  readonly id: string;
  readonly cluster: string;
  readonly metadata: JsonObject;
}

export interface ProxyBootstrap {
  /** `NAMESPACE/NAME`. */
  readonly workload: string;
  readonly node: ProxyNode;
  readonly controlPlane: {
    readonly address: string;
    readonly port: number;
    /** The only SPIFFE ID that may answer there. */
    readonly identity: string;
  };
  /** Path of the agent's SDS socket. */
  readonly sdsSocket: string;
  /** Path of the socket where this proxy answers `GET /ready`. */
  readonly readySocket: string;
}

function invalid(what: string): AppError {
  return new AppError("invalid-configuration", `the bootstrap of the proxy ${what}`, {
    help: "the agent writes it: run the proxy by `garrison run`",
  });
}

function isObject(value: JsonValue | undefined): value is JsonObject {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function objectAt(parent: JsonObject, key: string): JsonObject {
  const value = parent[key];
  if (!isObject(value)) throw invalid(`has no object \`${key}\``);
  return value;
}

function stringAt(parent: JsonObject, key: string): string {
  const value = parent[key];
  if (typeof value !== "string" || value === "") throw invalid(`has no text \`${key}\``);
  return value;
}

function portAt(parent: JsonObject, key: string): number {
  const value = parent[key];
  if (typeof value !== "number" || !Number.isInteger(value) || value < 1 || value > 65_535) throw invalid(`has no port \`${key}\``);
  return value;
}

/** The bootstrap from its JSON text. Throws `invalid-configuration`. */
export function parseProxyBootstrap(text: string): ProxyBootstrap {
  let parsed: JsonValue;
  try {
    parsed = JSON.parse(text);
  } catch (thrown) {
    throw new AppError("invalid-configuration", "the bootstrap of the proxy is not JSON", { cause: thrown });
  }
  if (!isObject(parsed)) throw invalid("is not an object");
  const node = objectAt(parsed, "node");
  const controlPlane = objectAt(parsed, "controlPlane");
  return {
    workload: stringAt(parsed, "workload"),
    node: { id: stringAt(node, "id"), cluster: stringAt(node, "cluster"), metadata: objectAt(node, "metadata") },
    controlPlane: {
      address: stringAt(controlPlane, "address"),
      port: portAt(controlPlane, "port"),
      identity: stringAt(controlPlane, "identity"),
    },
    sdsSocket: stringAt(parsed, "sdsSocket"),
    readySocket: stringAt(parsed, "readySocket"),
  };
}
