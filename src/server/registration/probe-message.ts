/** A group's probe on its way to the members' agents. */
import type { MessageInitShape } from "@bufbuild/protobuf";
import type { HealthProbeSchema } from "../../gen/garrison/v1/registration_pb.js";
import type { HealthProbe } from "../../policy/health-probe.ts";

type ProbeInit = MessageInitShape<typeof HealthProbeSchema>;

function handlerOf(probe: HealthProbe): NonNullable<ProbeInit["handler"]> {
  switch (probe.kind) {
    case "http": {
      const { scheme, host = "", port, path, headers } = probe;
      return { case: "http", value: { scheme, host, port, path, headers: headers.map(([name, value]) => ({ name, value })) } };
    }
    case "tcp":
      return { case: "tcp", value: { host: probe.host ?? "", port: probe.port } };
    case "grpc":
      return { case: "grpc", value: { port: probe.port, service: probe.service } };
    case "exec":
      return { case: "exec", value: { command: [...probe.command] } };
  }
}

export function probeMessage(probe: HealthProbe): ProbeInit {
  const { initialDelaySeconds, timeoutSeconds, periodSeconds, successThreshold, failureThreshold } = probe;
  return { initialDelaySeconds, timeoutSeconds, periodSeconds, successThreshold, failureThreshold, handler: handlerOf(probe) };
}
