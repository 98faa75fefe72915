/** The node's probes of the application -> probes that the agent answers: the node comes in plaintext, which the proxy refuses. */
import { PROBE_PORT } from "../options.ts";
import { isPlain, listOf, type Plain, plainOf, textOf } from "./plain.ts";

/** The kinds of a container's probes, and the last part of the path at the agent. */
const KINDS = { livenessProbe: "livez", readinessProbe: "readyz", startupProbe: "startupz" } as const;

export interface RewrittenContainers {
  readonly containers: readonly unknown[];
  /** For `--app-probes`: what is asked of the application, by path. */
  readonly probes: Readonly<Record<string, Plain>>;
  /** Of what could not be told. */
  readonly notes: readonly string[];
}

const HANDLERS = ["httpGet", "tcpSocket", "grpc"] as const;
const DEFAULT_TIMEOUT_SECONDS = 1;

/** A number, or the name of one of the container's ports; undefined where it is neither. */
export function portNumber(container: Plain, port: unknown): number | undefined {
  if (typeof port === "number") return port;
  if (typeof port === "string" && /^\d+$/.test(port)) return Number(port);
  const found = listOf(container, "ports").find((each) => textOf(each, "name") === port);
  return isPlain(found) && typeof found.containerPort === "number" ? found.containerPort : undefined;
}

function timeoutOf(probe: Plain): number {
  const seconds = probe.timeoutSeconds;
  return typeof seconds === "number" && seconds >= 1 ? Math.min(seconds, 60) : DEFAULT_TIMEOUT_SECONDS;
}

/** What the agent asks; undefined for what is no business of the network's (`exec`), or cannot be told. */
function askedOf(container: Plain, probe: Plain): Plain | undefined {
  const timeoutSeconds = timeoutOf(probe);
  const [handler] = HANDLERS.filter((name) => isPlain(probe[name]));
  if (handler === undefined) return undefined;
  const settings = plainOf(probe, handler);
  const port = portNumber(container, settings.port);
  // Another host is none of the application's.
  if (port === undefined || textOf(settings, "host") !== "") return undefined;
  if (handler === "tcpSocket") return { kind: "tcp", port, timeoutSeconds };
  if (handler === "grpc") return { kind: "grpc", port, service: textOf(settings, "service"), timeoutSeconds };
  const path = textOf(settings, "path") || "/";
  const headers = listOf(settings, "httpHeaders").map((header) => [textOf(header, "name"), textOf(header, "value")]);
  const scheme = textOf(settings, "scheme") === "HTTPS" ? "HTTPS" : "HTTP";
  return { kind: "http", scheme, port, path: path.startsWith("/") ? path : `/${path}`, headers, timeoutSeconds };
}

/** The agent needs a moment itself. */
function atAgent(probe: Plain, path: string, timeoutSeconds: number): Plain {
  const { httpGet: _, tcpSocket: __, grpc: ___, ...timing } = probe;
  return { ...timing, timeoutSeconds: timeoutSeconds + 1, httpGet: { path, port: PROBE_PORT, scheme: "HTTP" } };
}

/** Of a probe whose port has a name that the container does not declare: the node cannot make it either. */
function unknownPort(container: Plain, kind: string, probe: Plain): readonly string[] {
  const port = HANDLERS.map((name) => plainOf(probe, name).port).find((value) => value !== undefined);
  if (typeof port !== "string" || portNumber(container, port) !== undefined) return [];
  const name = textOf(container, "name");
  return [
    `\`${kind}\` of container \`${name}\` asks port \`${port.slice(0, 100)}\`, which the container does not declare: it stays as it is`,
  ];
}

/** Each container with its probes led to the agent. */
export function rewriteProbes(containers: readonly unknown[]): RewrittenContainers {
  const probes: Record<string, Plain> = {};
  const notes: string[] = [];
  const rewritten = containers.map((container) => {
    if (!isPlain(container)) return container;
    const changed: Record<string, unknown> = { ...container };
    for (const [kind, end] of Object.entries(KINDS)) {
      const probe = container[kind];
      if (!isPlain(probe)) continue;
      const asked = askedOf(container, probe);
      notes.push(...unknownPort(container, kind, probe));
      if (asked === undefined) continue;
      const path = `/app-health/${textOf(container, "name")}/${end}`;
      probes[path] = asked;
      changed[kind] = atAgent(probe, path, timeoutOf(probe));
    }
    return changed;
  });
  return { containers: rewritten, probes, notes };
}
