/** What a workload's proxy is started with. */
import { join } from "node:path";
import { renderBootstrap } from "../render/envoy/bootstrap.ts";
import { type AgentOptions, proxyNode } from "./agent-options.ts";
import { embeddedProgram, envoyProgram, type ProxyProgram } from "./proxy-program.ts";
import { socketPath, writePrivateFile } from "./run-folder.ts";

/** Threads: a sidecar is not the machine's main work (Istio gives its own two as well). */
const ENVOY_CONCURRENCY = 2;

/** A workload's proxy with its sockets, as the agent's run folder has them; writes the proxy's bootstrap there. */
export function prepareProxy(options: AgentOptions, folder: string, sdsSocket: string): ProxyProgram | undefined {
  const { workload, controlPlane, proxy } = options;
  const node = proxyNode(options);
  switch (proxy.kind) {
    case "none":
      return undefined;
    case "envoy": {
      const concurrency = proxy.concurrency ?? ENVOY_CONCURRENCY;
      const adminSocket = socketPath(folder, "envoy-admin.sock");
      const bootstrapFile = join(folder, "envoy.json");
      const program = envoyProgram({ path: proxy.path, bootstrapFile, adminSocket, concurrency });
      writePrivateFile(
        bootstrapFile,
        JSON.stringify(renderBootstrap({ node, controlPlane, sdsSocket, adminSocket, xds: proxy.xds, records: "agent" }), null, 2),
      );
      return program;
    }
    case "embedded": {
      const readySocket = socketPath(folder, "proxy-ready.sock");
      const bootstrapFile = join(folder, "proxy.json");
      const program = embeddedProgram({ command: proxy.command, bootstrapFile, readySocket });
      writePrivateFile(bootstrapFile, JSON.stringify({ workload, node, controlPlane, sdsSocket, readySocket }, null, 2));
      return program;
    }
  }
}
