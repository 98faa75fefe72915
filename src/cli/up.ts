import { resolve } from "node:path";
import { callAdmin } from "./admin-client.ts";
import type { Command } from "./command.ts";
import { EXIT } from "./exit.ts";
import { chooseProxy, PROXY_OPTION } from "./find-envoy.ts";
import { CA_KEY_KIND_OPTION, KEY_KIND_OPTION, keyKindsOf } from "./key-kind.ts";
import { type LocalMesh, startLocalMesh } from "./local-mesh.ts";
import { TRUST_DOMAIN_OPTION } from "./offline-mesh.ts";
import { existingFolder, required, STATE_OPTION } from "./options.ts";
import { troubles } from "./settled-proxies.ts";
import { endRequest } from "./signals.ts";

/** Tells of processes that end before they are asked to; `isOver` says when that is all right. */
function tellOfDeaths({ controlPlane, agents }: LocalMesh, isOver: () => boolean): void {
  for (const child of [controlPlane, ...agents.values()]) {
    void child.ended.then((exit) => {
      if (isOver()) return;
      const log = child.lastLines().map((line) => `  ${line}\n`);
      process.stderr.write(`garrison: ${child.name} has ended (${exit}); the others go on\n${log.join("")}`);
    });
  }
}

/** How many workloads do all that they should. */
function describeMesh({ agents }: LocalMesh, wrong: ReadonlyMap<string, string>): string {
  const all = `${agents.size} workload${agents.size === 1 ? "" : "s"}`;
  return wrong.size === 0 ? all : `${agents.size - wrong.size} of ${all}`;
}

export const command: Command = {
  name: "up",
  summary:
    "Runs a folder of YAML on this machine: the control plane, and an agent with a proxy for each local WorkloadEntry. Applications are yours to start. Ends with 4 where a proxy could not do all that it should at the start.",
  operands: "FOLDER",
  arity: [1, 1],
  options: {
    state: STATE_OPTION,
    listen: { type: "value", value: "HOST:PORT", doc: "where the control plane serves", default: "127.0.0.1:15012" },
    "trust-domain": TRUST_DOMAIN_OPTION,
    proxy: PROXY_OPTION,
    "ca-key-kind": CA_KEY_KIND_OPTION,
    "key-kind": KEY_KIND_OPTION,
    verbose: { type: "flag", doc: "print every log line; without it warnings and errors" },
  },
  examples: ["garrison up examples/photo/mesh", "garrison up my-mesh --proxy embedded --state ~/.garrison"],
  run: async (parsed) => {
    const config = resolve(existingFolder(parsed.positionals[0] ?? ""));
    const proxy = await chooseProxy(required(parsed, "proxy"));
    const state = resolve(required(parsed, "state"));
    const verbose = parsed.flag("verbose");
    let over = false;
    const asked = endRequest();
    const mesh = await startLocalMesh({
      config,
      state,
      listen: required(parsed, "listen"),
      trustDomain: parsed.value("trust-domain"),
      proxy: proxy.kind,
      ...keyKindsOf(parsed),
      commandOf: () => [],
      environmentOf: (): Readonly<Record<string, string>> => (proxy.kind === "envoy" ? { ENVOY_PATH: proxy.path } : {}),
      leaveOut: new Set(),
      onLine: (name, line) => {
        if (verbose || (!over && / (warn|error) /.test(line))) process.stderr.write(`[${name}] ${line}\n`);
      },
    });
    const ready = (await callAdmin(mesh.adminSocket, "GET", "/v1/status")) as { readonly listen: string };
    const wrong = await troubles(mesh.adminSocket, new Set(mesh.agents.keys()));
    const kind = proxy.kind === "envoy" ? `Envoy ${proxy.version}` : "the embedded proxy";
    process.stdout.write(`control plane on ${ready.listen}, ${describeMesh(mesh, wrong)} with ${kind}:\n`);
    for (const workload of mesh.agents.keys()) process.stdout.write(`  ${workload}${wrong.has(workload) ? "  not whole" : ""}\n`);
    for (const [workload, why] of wrong) process.stderr.write(`garrison: ${workload} is not whole: ${why}\n`);
    process.stdout.write(
      `state, certificates and logs: ${state}\ntry \`garrison status\` and \`garrison audit --follow\` with --state ${state}; end with Ctrl-C\n`,
    );
    tellOfDeaths(mesh, () => over);
    await asked;
    over = true;
    await mesh.stop();
    return wrong.size === 0 ? EXIT.ok : EXIT.environment;
  },
};
