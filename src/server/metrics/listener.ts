/** `/metrics` over plain HTTP, for whom the network lets reach it: it has numbers, and no names and no secrets (docs/adr/0052). */
import { monitorEventLoopDelay } from "node:perf_hooks";
import type { Clock } from "../../core/clock.ts";
import type { Logger } from "../../core/logger.ts";
import { RateLimit } from "../../rpc/rate-limit.ts";
import { formatHostPort } from "../listen.ts";
import { type HttpAnswer, listenHttp } from "../plain-http.ts";
import type { Metrics } from "./metrics.ts";
import { DELAY_RESOLUTION_MS } from "./process-readings.ts";
import type { MetricSources } from "./reading.ts";

export interface MetricsListenerOptions {
  readonly listen: { readonly host: string; readonly port: number };
  readonly metrics: Metrics;
  readonly sources: Omit<MetricSources, "delays">;
  readonly clock: Clock;
  readonly logger: Logger;
}

export interface MetricsListener {
  readonly port: number;
  close(): void;
}

const PATH = "/metrics";
/** Of one address: several Prometheis may be behind it. */
const LIMITS = { perSecond: 20, atOnce: 50 } as const;

/** Serves them until it is closed. Throws `unavailable` where it cannot listen. */
export async function serveMetrics({ listen, metrics, sources, clock, logger }: MetricsListenerOptions): Promise<MetricsListener> {
  const delays = monitorEventLoopDelay({ resolution: DELAY_RESOLUTION_MS });
  const limit = new RateLimit({ ...LIMITS, clock });
  const answer = async (method: string, path: string, address: string): Promise<HttpAnswer> => {
    if (path !== PATH) return { status: 404 };
    if (method !== "GET" && method !== "HEAD") return { status: 405, fields: { allow: "GET, HEAD" } };
    limit.take(address);
    return { status: 200, fields: { "content-type": metrics.contentType }, body: Buffer.from(await metrics.text()) };
  };
  const server = await listenHttp({
    listen,
    what: "metrics cannot be served",
    help: "choose another address with --metrics-listen HOST:PORT",
    answer: ({ method = "", url = "", socket }) => answer(method, url.split("?", 1)[0] ?? "", socket.remoteAddress ?? ""),
    logger,
  });
  metrics.follow({ ...sources, delays });
  delays.enable();
  logger.log("info", "metrics are served", { url: `http://${formatHostPort({ host: listen.host, port: server.port })}${PATH}` });
  const close = (): void => {
    delays.disable();
    server.close();
  };
  return { port: server.port, close };
}
