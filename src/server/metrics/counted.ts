/** Services and webhooks whose answers are counted. */
import { type handleUnaryCall, type ServerUnaryCall, type sendUnaryData, status, type UntypedServiceImplementation } from "@grpc/grpc-js";
import type { AdmissionHandler } from "../webhook/admission-review.ts";
import type { AdmissionHandlers } from "../webhook/webhook-server.ts";
import type { Metrics, Verdict } from "./metrics.ts";

type Call = ServerUnaryCall<unknown, unknown>;
type Failure = Parameters<sendUnaryData<unknown>>[0];

function codeOf(failure: Failure): string {
  if (failure === null) return "OK";
  return status[failure.code ?? status.UNKNOWN] ?? "UNKNOWN";
}

const secondsSince = (began: number): number => (performance.now() - began) / 1000;

/** The handlers of a service of unary calls. */
export function countedService(
  handlers: UntypedServiceImplementation,
  metrics: Pick<Metrics, "request" | "serves">,
): UntypedServiceImplementation {
  metrics.serves({ methods: Object.keys(handlers) });
  const counted = Object.entries(handlers).map(([method, given]) => {
    const handler = given as handleUnaryCall<unknown, unknown>;
    const handle = (call: Call, callback: sendUnaryData<unknown>): void => {
      const began = performance.now();
      handler(call, (...answer) => {
        metrics.request(method, codeOf(answer[0]), secondsSince(began));
        callback(...answer);
      });
    };
    return [method, handle] as const;
  });
  return Object.fromEntries(counted);
}

function countedHandler(webhook: string, handler: AdmissionHandler, metrics: Pick<Metrics, "review">): AdmissionHandler {
  return (request) => {
    const began = performance.now();
    let verdict: Verdict = "failed";
    try {
      const answer = handler(request);
      verdict = answer.allowed ? "allowed" : "refused";
      return answer;
    } finally {
      metrics.review(webhook, verdict, secondsSince(began));
    }
  };
}

/** Webhooks, by their paths. */
export function countedHandlers(handlers: AdmissionHandlers, metrics: Pick<Metrics, "review" | "serves">): AdmissionHandlers {
  const webhookOf = (path: string): string => path.slice(1);
  metrics.serves({ webhooks: Object.keys(handlers).map(webhookOf) });
  const counted = Object.entries(handlers).map(([path, handler]) => [path, countedHandler(webhookOf(path), handler, metrics)] as const);
  return Object.fromEntries(counted);
}
