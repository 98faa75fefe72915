/** The records of all replicas as one: what was decided, whichever of them was told. */
import { create } from "@bufbuild/protobuf";
import type { AuditFilter } from "../audit/filter.ts";
import { formatJson, formatUnasked } from "../audit/format.ts";
import { type AnswerQuestion, type AuditQuestion, parseQuestion, storeLines } from "../audit/http.ts";
import type { AuditStore } from "../audit/store.ts";
import type { Clock } from "../core/clock.ts";
import { AppError } from "../core/error.ts";
import { DecisionsRequestSchema, Replicas } from "../gen/garrison/v1/replica_pb.js";
import { methodDefinition } from "../rpc/service.ts";
import { type OtherReplicas, unaskedWords } from "./cluster/other-replicas.ts";
import { isNamed } from "./cluster/replica.ts";
import type { ArrivedLine } from "./cluster/replica-service.ts";
import { type FollowedLine, type FollowedReplicas, followAll } from "./follow-all.ts";
import { mergeArrived } from "./merge-arrived.ts";

const METHOD = methodDefinition(Replicas.method.decisions);

interface OwnDecisions {
  readonly store: Pick<AuditStore, "queryArrived" | "follow">;
  /** This replica's name; empty where there are none. */
  readonly replica: string;
}

interface DecisionsContext extends OwnDecisions {
  readonly store: Pick<AuditStore, "query" | "queryArrived" | "follow">;
  readonly others: Pick<OtherReplicas, "known" | "stream">;
  readonly clock: Clock;
}

interface NumberedLine extends ArrivedLine, FollowedLine {}

/** Streams of what is to come to other replicas, at one time; more are refused. */
const MAX_FOLLOWERS = 64;
/** How soon a replica that begins is followed, or one that was lost again. */
const LOOK_MS = 2_000;

/** This replica's, with its name; of what is to come, without the time of its arrival. */
async function* ownLines(
  { store, replica }: OwnDecisions,
  { filter, follow }: AuditQuestion,
  signal: AbortSignal,
): AsyncGenerator<NumberedLine, void, undefined> {
  if (follow) {
    for await (const record of store.follow(filter, signal)) yield { received: 0, id: record.id, line: formatJson({ ...record, replica }) };
    return;
  }
  for await (const { received, record } of store.queryArrived(filter))
    yield { received, id: record.id, line: formatJson({ ...record, replica }) };
}

/** For the other replicas: what this one has. Throws `invalid-argument`, and `resource-exhausted` where too many follow. */
export function decisionsForReplicas({ clock, ...own }: OwnDecisions & { readonly clock: Clock }) {
  let followers = 0;
  async function* followed(question: AuditQuestion, signal: AbortSignal): AsyncGenerator<ArrivedLine, void, undefined> {
    if (followers >= MAX_FOLLOWERS) throw new AppError("resource-exhausted", `${MAX_FOLLOWERS} others follow its record already`);
    followers += 1;
    try {
      yield* ownLines(own, question, signal);
    } finally {
      followers -= 1;
    }
  }
  return (query: URLSearchParams, signal: AbortSignal): AsyncIterable<ArrivedLine> => {
    const question = parseQuestion(query, clock.now());
    return question.follow ? followed(question, signal) : ownLines(own, question, signal);
  };
}

/** The number of a line that another replica says to be of its record. Throws `internal` for what is none. */
function numberOf(line: string, replica: string): number {
  const record = JSON.parse(line) as { readonly id?: unknown; readonly replica?: unknown } | null;
  if (typeof record?.id === "number" && record.replica === replica) return record.id;
  throw new AppError("internal", "it answers with what is no record of its own");
}

async function* linesOf(
  { others }: DecisionsContext,
  replica: string,
  query: URLSearchParams,
  signal: AbortSignal,
): AsyncGenerator<NumberedLine, void, undefined> {
  const request = create(DecisionsRequestSchema, { query: query.toString() });
  for await (const { decisions } of others.stream(METHOD, request, others.known.addresses.get(replica), signal))
    for (const { receivedMs, record } of decisions) yield { received: Number(receivedMs), id: numberOf(record, replica), line: record };
}

/** Which replicas are asked: all, or the one whose numbers are asked for. Throws `not-found`. */
function namesOf({ replica, others }: DecisionsContext, { afterId, replica: named }: AuditFilter): readonly string[] {
  const all = [replica, ...others.known.addresses.keys()];
  if (afterId === undefined) return all;
  const found = named === undefined ? replica : all.find((each) => isNamed(each, named));
  if (found !== undefined) return [found];
  throw new AppError("not-found", `there is no replica \`${named}\` of the control plane, or it has ended`, {
    help: "its name is in the numbers of its records, as `garrison audit` lists them",
  });
}

const lost = (name: string, thrown: unknown): string => formatUnasked(unaskedWords(name, thrown));

async function* merged(
  context: DecisionsContext,
  question: AuditQuestion,
  query: URLSearchParams,
  names: readonly string[],
  signal: AbortSignal,
): AsyncGenerator<string, void, undefined> {
  const { filter } = question;
  const { doubt } = context.others.known;
  if (doubt !== undefined && filter.afterId === undefined) yield formatUnasked(doubt);
  const sources = names.map((name) => ({
    lines: name === context.replica ? ownLines(context, question, signal) : linesOf(context, name, query, signal),
    lost: (thrown: unknown) => lost(name, thrown),
  }));
  yield* mergeArrived(sources, filter.order ?? "oldest", filter.limit ?? Number.POSITIVE_INFINITY);
}

/** The question to one replica: from the one record on, or from a time on where that is later than the question. */
function resumed(query: URLSearchParams, after: number | undefined, since: number | undefined): URLSearchParams {
  const next = new URLSearchParams(query);
  if (after !== undefined) {
    next.delete("since");
    next.set("after-id", String(after));
  } else if (since !== undefined && !next.has("since") && !next.has("after-id")) next.set("since", new Date(since).toISOString());
  return next;
}

async function* followed(
  context: DecisionsContext,
  question: AuditQuestion,
  query: URLSearchParams,
  names: readonly string[],
  signal: AbortSignal,
): AsyncGenerator<string, void, undefined> {
  const { replica, others, clock } = context;
  const { limit = Number.POSITIVE_INFINITY, afterId } = question.filter;
  const began = clock.now();
  const first = new Set(names);
  const { doubt } = others.known;
  if (doubt !== undefined && afterId === undefined) yield formatUnasked(doubt);
  const replicas: FollowedReplicas = {
    names: () => (afterId === undefined ? [replica, ...others.known.addresses.keys()] : names),
    linesOf: (name, after, until) => {
      const next = resumed(query, after, first.delete(name) ? undefined : began);
      return name === replica ? ownLines(context, parseQuestion(next, clock.now()), until) : linesOf(context, name, next, until);
    },
    lost,
    lookMs: LOOK_MS,
  };
  let left = limit;
  for await (const { kind, text } of followAll(replicas, signal)) {
    yield text;
    if (kind === "line" && --left <= 0) return;
  }
}

/** What `GET /v1/audit` answers. */
export function answerDecisions(context: DecisionsContext): AnswerQuestion {
  return (question, query, signal) => {
    if (context.replica === "") return storeLines(context.store, question, signal);
    const names = namesOf(context, question.filter);
    return (question.follow ? followed : merged)(context, question, query, names, signal);
  };
}
