/** Bounds on what a client can make the control plane hold or do. */
import { AppError } from "../core/error.ts";
import type { TurnLimits } from "./turns.ts";

export interface XdsLimits extends TurnLimits {
  /** Bytes of one request. */
  readonly requestBytes: number;
  /** Names that one stream subscribes to, over all types. */
  readonly names: number;
  /** Resource types on one stream. */
  readonly types: number;
  /** Requests that one stream has handled in a second; the rest waits in the client's own buffers. */
  readonly requestsPerSecond: number;
  /** Streams of one key; a further one ends the oldest. */
  readonly streamsPerKey: number;
  /** Keys whose streams have all ended, and of which it is remembered what they refused; of a further one the oldest is forgotten. */
  readonly refusedAway: number;
  /** Streams of anyone that are not admitted yet. */
  readonly waitingStreams: number;
  /** Milliseconds until a stream has sent its first request and is admitted. */
  readonly admissionMs: number;
  /** Milliseconds that a response may stay unanswered. Long, because Envoy answers for a cluster only once that is warm. */
  readonly answerMs: number;
  /** Milliseconds until what a client refused is offered again: the reason may have been its own, such as a port in use. */
  readonly refusedMs: number;
}

export const DEFAULT_LIMITS: XdsLimits = {
  requestBytes: 2 << 20,
  names: 20_000,
  types: 16,
  requestsPerSecond: 500,
  streamsPerKey: 8,
  refusedAway: 10_000,
  waitingStreams: 4_096,
  admissionMs: 10_000,
  answerMs: 300_000,
  refusedMs: 5_000,
  turnBytes: 32 << 20,
  flightBytes: 128 << 20,
  turnMs: 1_000,
  stalledMs: 10_000,
};

/** Characters of a resource name, version, type URL or node id. Envoy's longest are cluster names of a few DNS names. */
const MAX_STRING = 1_024;
/** A reconnecting client names each resource it wants, and each it has with its version. */
const STRINGS_PER_NAME = 3;
/** Characters that are kept of a client's error message. */
const MAX_MESSAGE = 4_096;

/** Throws when a request carries too many or too long strings. */
export function checkStrings(strings: Iterable<string>, limits: XdsLimits): void {
  let count = 0;
  for (const text of strings) {
    checkString("a name or version", text);
    count += 1;
  }
  const most = limits.names * STRINGS_PER_NAME;
  if (count > most) throw new AppError("resource-exhausted", `a request carries ${count} names and versions, more than ${most}`);
}

export function checkString(what: string, text: string): void {
  if (text.length > MAX_STRING) throw new AppError("invalid-argument", `${what} is longer than ${MAX_STRING} characters`);
}

export function clipMessage(text: string): string {
  const message = text.trim();
  return message.length > MAX_MESSAGE ? `${message.slice(0, MAX_MESSAGE)}…` : message;
}
