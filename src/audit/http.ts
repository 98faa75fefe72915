/** The record over HTTP, for the admin socket: `GET /v1/audit?FLAGS` answers JSON lines, with `follow=1` also those to come. */
import { once } from "node:events";
import type { ServerResponse } from "node:http";
import type { Clock } from "../core/clock.ts";
import { AppError } from "../core/error.ts";
import type { AuditFilter } from "./filter.ts";
import { formatJson } from "./format.ts";
import { parseAuditFilter } from "./query-text.ts";
import type { AuditStore } from "./store.ts";

/** What is asked of a control plane that may have replicas. */
export interface AuditQuestion {
  readonly filter: AuditFilter;
  readonly follow: boolean;
}

/** Answers with lines of JSON (`formatJson`, `formatUnasked`), until the signal. Throws AppError before the first of them for what cannot be answered. */
export type AnswerQuestion = (question: AuditQuestion, query: URLSearchParams, signal: AbortSignal) => AsyncIterable<string>;

export interface AuditHandlerOptions {
  readonly clock: Clock;
  /** Answers in the place of the store alone. */
  readonly answer?: AnswerQuestion;
  /** Requests with `follow` at one time; more are refused. */
  readonly maxFollowers?: number;
}

/** A route of the admin socket. It throws AppError as long as nothing has been sent; later the response is to be cut off. */
export type AuditHandler = (request: { readonly url: URL }, response: ServerResponse) => Promise<undefined>;

const DEFAULT_LIMIT = 100;
const DEFAULT_MAX_FOLLOWERS = 32;
/** Lines are sent together up to this many characters. */
const CHUNK = 32 * 1024;

/** Throws `invalid-argument`. */
export function parseQuestion(searchParams: URLSearchParams, now: number): AuditQuestion {
  const values = new Map<string, string>();
  for (const [name, value] of searchParams) {
    if (values.has(name))
      throw new AppError("invalid-argument", `\`${name.slice(0, 100)}\` is given twice`, { help: "give each part of the query once" });
    values.set(name, value);
  }
  const follow = values.get("follow");
  values.delete("follow");
  if (follow !== undefined && follow !== "1") {
    throw new AppError("invalid-argument", `\`${follow.slice(0, 100)}\` is not a value of \`follow\``, {
      help: "write `follow=1`, or leave it out",
    });
  }
  const filter = parseAuditFilter(Object.fromEntries(values), now);
  return follow === undefined ? { filter: { limit: DEFAULT_LIMIT, order: "newest", ...filter }, follow: false } : { filter, follow: true };
}

/** Writes lines at the reader's pace, and what is there without waiting for more. Ends with the lines or the signal. */
async function send(response: ServerResponse, lines: AsyncIterable<string>, signal: AbortSignal): Promise<void> {
  let chunk = "";
  let scheduled: NodeJS.Immediate | undefined;
  const write = () => {
    clearImmediate(scheduled);
    scheduled = undefined;
    const text = chunk;
    chunk = "";
    if (text !== "") response.write(text);
  };
  try {
    for await (const line of lines) {
      chunk += `${line}\n`;
      if (chunk.length >= CHUNK) write();
      else scheduled ??= setImmediate(write);
      if (response.writableNeedDrain) await once(response, "drain", { signal });
    }
    write();
  } finally {
    clearImmediate(scheduled);
  }
}

/** The lines of one store. */
export async function* storeLines(
  store: Pick<AuditStore, "query" | "follow">,
  { filter, follow }: AuditQuestion,
  signal: AbortSignal,
): AsyncGenerator<string, void, undefined> {
  for await (const record of follow ? store.follow(filter, signal) : store.query(filter)) yield formatJson(record);
}

async function answer(lines: AsyncIterable<string>, response: ServerResponse, gone: AbortController): Promise<void> {
  response.on("close", () => gone.abort());
  // A reader that has gone already is not told of again.
  if (response.destroyed) gone.abort();
  response.writeHead(200, { "content-type": "application/x-ndjson" }).flushHeaders();
  try {
    await send(response, lines, gone.signal);
    response.end();
  } catch (error) {
    // A reader that went away is no failure.
    if (!gone.signal.aborted) throw error;
  }
}

/** Answers `?FLAGS` (parseAuditFilter's, and `follow=1`) with JSON lines; without `follow`, the newest 100 where nothing else is said, the newest first. */
export function auditHandler(store: AuditStore, options: AuditHandlerOptions): AuditHandler {
  const {
    clock,
    maxFollowers = DEFAULT_MAX_FOLLOWERS,
    answer: linesOf = (question, _query, signal) => storeLines(store, question, signal),
  } = options;
  let followers = 0;
  const tell = ({ url }: { readonly url: URL }, question: AuditQuestion, response: ServerResponse): Promise<void> => {
    const gone = new AbortController();
    return answer(linesOf(question, url.searchParams, gone.signal), response, gone);
  };
  return async (request, response) => {
    const question = parseQuestion(request.url.searchParams, clock.now());
    if (!question.follow) {
      await tell(request, question, response);
      return undefined;
    }
    if (followers >= maxFollowers) {
      throw new AppError("resource-exhausted", `${maxFollowers} others follow the record already`, {
        help: "end one of them, or ask without `--follow`",
      });
    }
    followers++;
    try {
      await tell(request, question, response);
    } finally {
      followers--;
    }
    return undefined;
  };
}
