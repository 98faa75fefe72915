/**
 * Hooks of containers that are HTTP requests of the node's: they come in plaintext, as probes do, but are no questions. What they set off, such as
 * a shutdown, would be anybody's to set off at the agent's open port, so that they are not led there: they are told.
 */
import { isPlain, type Plain, plainOf, textOf } from "./plain.ts";
import { portNumber } from "./probes.ts";

const HOOKS = ["postStart", "preStop"] as const;
const HANDLERS = ["httpGet", "tcpSocket"] as const;

function isCaptured(container: Plain, settings: Plain, excluded: readonly number[]): boolean {
  const port = portNumber(container, settings.port);
  return textOf(settings, "host") === "" && (port === undefined || !excluded.includes(port));
}

/** A sentence for each such hook whose port is captured. */
export function plaintextHooks(containers: readonly unknown[], excluded: readonly number[]): readonly string[] {
  return containers.filter(isPlain).flatMap((container) =>
    HOOKS.flatMap((hook) => {
      const handlers = plainOf(plainOf(container, "lifecycle"), hook);
      const captured = HANDLERS.some((name) => isPlain(handlers[name]) && isCaptured(container, plainOf(handlers, name), excluded));
      if (!captured) return [];
      const what = `\`${hook}\` of container \`${textOf(container, "name")}\` is a request of the node's, in plaintext, which STRICT refuses`;
      return [`${what}: make it an \`exec\`, or leave its port out by \`traffic.sidecar.istio.io/excludeInboundPorts\``];
    }),
  );
}
