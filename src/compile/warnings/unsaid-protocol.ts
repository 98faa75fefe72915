/** Ports that are TCP only because nothing says otherwise: how rules of HTTP could be meant for them. */
import { meshServices, servedPort } from "../../mesh/registry.ts";
import { sidecarOf } from "../../mesh/selection.ts";
import type { MeshSnapshot } from "../../mesh/snapshot.ts";

/** What to add to the help; empty where the protocol of each of these ports (`NAMESPACE/WORKLOAD:PORT`) was said. */
export function unsaidProtocol(snapshot: MeshSnapshot, ports: readonly string[]): string {
  for (const at of ports) {
    const [key = "", portText = ""] = at.split(":");
    const workload = snapshot.workloads.get(key);
    // A Sidecar's own listeners say their protocol themselves.
    if (workload === undefined || (sidecarOf(snapshot, workload)?.ingress.length ?? 0) > 0) continue;
    for (const service of meshServices(snapshot)) {
      const port = service.ports.find((one) => one.unsaid === true && servedPort(snapshot, service, one, workload) === Number(portText));
      if (port === undefined) continue;
      const written = port.name === "" ? "has no name" : `is named \`${port.name}\``;
      return `; if it speaks HTTP, say so: port ${port.port} of service \`${service.key}\` ${written}, which says no protocol: name it \`http-…\`, or set \`appProtocol: http\``;
    }
  }
  return "";
}
