/** Attempts as one of the services: the service itself makes the call, so the answer is what its identity gets. */
import { setTimeout as pause } from "node:timers/promises";
import { callAdmin } from "../admin-client.ts";
import type { Observation } from "./row.ts";
import type { Stage } from "./stage.ts";

interface HttpOutcome {
  readonly status?: number;
  readonly error?: string;
}

interface TcpOutcome {
  readonly reply?: string;
  readonly error?: string;
  readonly closed: boolean;
}

/** Requests right after the start may come before an application listens; policy never answers 503. */
const READY_TRIES = 200;
const UNREACHED: Observation = { effect: "refused", saw: "no answer" };

function httpObservation({ status, error }: HttpOutcome): Observation {
  if (status === undefined) return { effect: "refused", saw: error ?? "no answer" };
  if (status === 403) return { effect: "deny", saw: "403" };
  return { effect: status === 503 ? "refused" : "allow", saw: String(status) };
}

/** One HTTP request as `workload`. */
export async function tryHttp(stage: Stage, workload: string, service: string, method: string, path: string): Promise<Observation> {
  const outcome = (await callAdmin(stage.trySocket(workload), "POST", "/http", { service, method, path })) as HttpOutcome;
  return httpObservation(outcome);
}

/** One Redis PING as `workload`. A proxy that denies closes the connection without an answer. */
export async function tryPing(stage: Stage, workload: string, service: string, port: string): Promise<Observation> {
  const outcome = (await callAdmin(stage.trySocket(workload), "POST", "/tcp", { service, port, payload: "PING\r\n" })) as TcpOutcome;
  const reply = outcome.reply?.trim() ?? "";
  return reply === ""
    ? { effect: "deny", saw: outcome.closed ? "closed" : (outcome.error ?? "no answer") }
    : { effect: "allow", saw: reply };
}

/** Waits until each service reaches each other one, allowed or not: only then does an answer speak of policy. */
export async function untilServing(stage: Stage, pairs: readonly (readonly [who: string, service: string])[]): Promise<void> {
  const reaches = async (): Promise<boolean> => {
    const observations = await Promise.all([
      ...pairs.map(([who, service]) => tryHttp(stage, who, service, "GET", "/photos")),
      tryPing(stage, "photo-ns/photo-backend", "datastore", "tcp-redis"),
      tryPing(stage, "photo-ns/photo-backend", "datastore", "tcp-redis-unix").then((seen) => (seen.saw === "+PONG" ? seen : UNREACHED)),
    ]);
    return observations.every(({ effect }) => effect !== "refused");
  };
  for (let tries = 0; tries < READY_TRIES; tries++) {
    if (await reaches().catch(() => false)) return;
    await pause(50);
  }
}
