import type { WorkloadView } from "../analyze/workload-view.ts";
import { formatView, otherwise, protocolsOf, rulesInForce, triedLayers } from "./authz/format-view.ts";
import { jsonLine } from "./authz/json-line.ts";
import { openSource, SOURCE_OPTIONS } from "./authz/mesh-source.ts";
import type { Command } from "./command.ts";
import { EXIT } from "./exit.ts";
import { JSON_OPTION } from "./options.ts";

function toJson(view: WorkloadView): unknown {
  const { policy, ports, authorization } = view;
  const listeners = policy.inbound.map(({ name, bind, port, protocol, mtls }) => ({
    name,
    bind,
    port,
    protocol,
    mtls,
    mtlsBy: ports.find(({ listener }) => listener === name)?.mtlsBy,
  }));
  const rules = protocolsOf(view).map((protocol) => {
    const layers = policy[protocol];
    const [custom, audit, deny, allow] = (["CUSTOM", "AUDIT", "DENY", "ALLOW"] as const).map((action) =>
      rulesInForce(view, layers, action),
    );
    const tried = triedLayers(layers);
    const dryRun = { deny: rulesInForce(view, tried, "DENY"), allow: rulesInForce(view, tried, "ALLOW") };
    return [
      protocol,
      {
        custom,
        audit,
        deny,
        allow,
        ...(layers.dryRun === undefined ? {} : { dryRun }),
        otherwise: layers.allow === undefined ? "no-policy" : "default",
        words: otherwise(layers),
      },
    ];
  });
  const servers = (policy.gateway?.listeners ?? []).map(({ name, bind, port, servers: own }) => ({
    name,
    bind,
    port,
    protocol: "http",
    servers: own.map((server) => ({ name: server.name, security: server.security.kind, hosts: server.hosts.map(({ host }) => host) })),
  }));
  return {
    workload: policy.workload,
    identity: policy.identity,
    listeners: [...listeners, ...servers],
    policies: authorization,
    rules: Object.fromEntries(rules),
  };
}

export const command: Command = {
  name: "authz check",
  summary: "Shows what is in force for a workload: the mutual TLS mode of each port, and the rules in the order in which they are asked.",
  operands: "WORKLOAD",
  arity: [1, 1],
  options: { ...SOURCE_OPTIONS, json: { ...JSON_OPTION, doc: "print JSON, one object a line for each workload" } },
  examples: ["garrison authz check photo-ns/photo-backend -f examples/photo/mesh", "garrison authz check photo-ns/photo-backend --json"],
  run: async (parsed) => {
    const views = await (await openSource(parsed))(parsed.positionals[0] ?? "");
    const format = parsed.flag("json") ? (view: WorkloadView) => jsonLine(toJson(view)) : formatView;
    for (const view of views) process.stdout.write(format(view));
    return EXIT.ok;
  },
};
