/** A control plane and captured workloads, each on a host of its own, with a real Envoy beside nothing that knows of it. */
import { chmodSync, chownSync, copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { GarrisonProcess, garrison } from "../feature/garrison.ts";
import type { Place } from "../feature/place.ts";
import type { Host, HostProcess } from "./hosts.ts";

const PROXY_USER = 1337;
const CONTROL_PLANE_PORT = 15012;

/** An account with the workload that runs as it. */
export function workloadYaml(name: string, address: string, more: { readonly captured?: boolean } = {}): string {
  const mode = more.captured === false ? "NONE" : "REDIRECT";
  return `apiVersion: v1
kind: ServiceAccount
metadata: { name: ${name}, namespace: shop }
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: ${name}, namespace: shop, annotations: { sidecar.istio.io/interceptionMode: ${mode} } }
spec: { address: ${address}, serviceAccount: ${name}, labels: { app: ${name} } }
`;
}

/** A service of the workload with the same name. */
export function serviceYaml(name: string, clusterIp: string, port: string): string {
  return `---
apiVersion: v1
kind: Service
metadata: { name: ${name}, namespace: shop }
spec:
  clusterIP: ${clusterIp}
  selector: { app: ${name} }
  ports: [${port}]
`;
}

export class CapturedMesh {
  readonly place: Place;
  readonly #controlPlane: Host;

  constructor(place: Place, controlPlane: Host) {
    this.place = place;
    this.#controlPlane = controlPlane;
    openToAgents(place);
  }

  async serve(): Promise<GarrisonProcess> {
    const listen = `${this.#controlPlane.address}:${CONTROL_PLANE_PORT}`;
    const args = ["serve", "--config", this.place.config, "--listen", listen, "--state", this.place.state];
    const served = new GarrisonProcess(this.place, args, { prefix: this.#controlPlane.prefix() });
    await served.line(/ control plane serves /);
    return served;
  }

  /** Captures the host's traffic and starts the workload's agent with Envoy; ready when Envoy is. */
  async join(host: Host, workload: string, capture: readonly string[] = [], more: readonly string[] = []): Promise<GarrisonProcess> {
    const { stdout } = await this.place.run("token", "join", "--workload", `shop/${workload}`);
    const controlPlane = `${this.#controlPlane.address}:${CONTROL_PLANE_PORT}`;
    return startCaptured(this.place, host, { workload, controlPlane, token: stdout.trim(), capture, more });
  }
}

/** Agents run as a user of their own. */
function openToAgents(place: Place): void {
  chmodSync(place.folder, 0o755);
}

export interface CapturedWorkload {
  /** Its name in the namespace `shop`. */
  readonly workload: string;
  /** `HOST:PORT`, as the host reaches it. */
  readonly controlPlane: string;
  readonly token: string;
  /** Arguments of `garrison capture`, and of the agent. */
  readonly capture?: readonly string[];
  readonly more?: readonly string[];
}

/** Captures the host's traffic and starts the workload's agent with Envoy; ready when Envoy is. */
export async function startCaptured(
  place: Place,
  host: Host,
  { workload, controlPlane, token, capture = [], more = [] }: CapturedWorkload,
): Promise<GarrisonProcess> {
  const { exit, stderr } = await garrison(["capture", ...capture], { prefix: host.prefix() });
  if (exit !== 0) throw new Error(stderr);
  const folder = join(place.folder, host.name);
  mkdirSync(folder, { mode: 0o700 });
  copyFileSync(place.controlPlane().rootCertificate, join(folder, "root-cert.pem"));
  writeFileSync(join(folder, "token"), token);
  openToAgents(place);
  for (const path of [folder, join(folder, "root-cert.pem"), join(folder, "token")]) chownSync(path, PROXY_USER, PROXY_USER);
  const files = ["--root-ca", join(folder, "root-cert.pem"), "--token-file", join(folder, "token"), "--state", join(folder, "state")];
  const agent = new GarrisonProcess(
    place,
    ["agent", "--control-plane", controlPlane, "--workload", `shop/${workload}`, "--proxy", "envoy", ...files, ...more],
    { prefix: host.prefix(PROXY_USER) },
  );
  await agent.line(/ proxy ready /);
  return agent;
}

/** A plain HTTP server that knows nothing of any mesh: it answers with who, by the proxy's header, has called. It listens on all of IPv4, or as `bind` says. */
export function plainHttpServer(host: Host, port: number, bind = "0.0.0.0"): HostProcess {
  const program = `require("node:http").createServer((request, response) => {
    const [, caller = "nobody"] = /URI=([^;,]*)/.exec(request.headers["x-forwarded-client-cert"] ?? "") ?? [];
    response.end(\`${host.name} \${request.url} for \${caller}\`);
  }).listen(${port}, "${bind}")`;
  return host.start([process.execPath, "-e", program]);
}
