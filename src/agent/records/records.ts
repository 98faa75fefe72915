/** What an Envoy records, from the socket of its agent to the control plane. */
import { type AgentOptions, proxyNode } from "../agent-options.ts";
import type { StreamPlace } from "../kept-stream.ts";
import { LogRelay } from "./log-relay.ts";
import { type LogService, logService } from "./log-service.ts";

export interface Records {
  readonly relay: LogRelay;
  readonly service: LogService;
}

/** Undefined without an Envoy: the embedded proxy reports by itself. */
export function recordsOf(options: AgentOptions & StreamPlace): Records | undefined {
  if (options.proxy.kind !== "envoy") return undefined;
  const relay = new LogRelay({ ...options, node: proxyNode(options) });
  return { relay, service: logService((block) => relay.take(block)) };
}
