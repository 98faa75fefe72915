/** The record over HTTP, for the admin socket: `GET /v1/audit?FLAGS` answers JSON lines, with `follow=1` also those to come. */
import { once } from "node:events";
import type { ServerResponse } from "node:http";
import type { Clock } from "../core/clock.ts";
import { AppError } from "../core/error.ts";
import type { AuditFilter } from "./filter.ts";
import { formatJson } from "./format.ts";
import { parseAuditFilter } from "./query-text.ts";
import type { AuditRecord } from "./record.ts";
import type { AuditStore } from "./store.ts";

export interface AuditHandlerOptions {
  readonly clock: Clock;
  /** Requests with `follow` at one time; more are refused. */
  readonly maxFollowers?: number;
}

/** A route of the admin socket. It throws AppError as long as nothing has been sent; later the response is to be cut off. */
export type AuditHandler = (request: { readonly url: URL }, response: ServerResponse) => Promise<undefined>;

const DEFAULT_LIMIT = 100;
const DEFAULT_MAX_FOLLOWERS = 32;
/** Lines are sent together up to this many characters. */
const CHUNK = 32 * 1024;

interface Question {
  readonly filter: AuditFilter;
  readonly follow: boolean;
}

function parseQuestion({ searchParams }: URL, now: number): Question {
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

/** Writes lines at the reader's pace, and what is there without waiting for more. Ends with the records or the signal. */
async function send(response: ServerResponse, records: AsyncIterable<AuditRecord>, signal: AbortSignal): Promise<void> {
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
    for await (const record of records) {
      chunk += `${formatJson(record)}\n`;
      if (chunk.length >= CHUNK) write();
      else scheduled ??= setImmediate(write);
      if (response.writableNeedDrain) await once(response, "drain", { signal });
    }
    write();
  } finally {
    clearImmediate(scheduled);
  }
}

async function answer(store: AuditStore, { filter, follow }: Question, response: ServerResponse): Promise<void> {
  const gone = new AbortController();
  response.on("close", () => gone.abort());
  response.writeHead(200, { "content-type": "application/x-ndjson" }).flushHeaders();
  try {
    await send(response, follow ? store.follow(filter, gone.signal) : store.query(filter), gone.signal);
    response.end();
  } catch (error) {
    // A reader that went away is no failure.
    if (!gone.signal.aborted) throw error;
  }
}

/** Answers `?FLAGS` (parseAuditFilter's, and `follow=1`) with JSON lines; without `follow`, the newest 100 where nothing else is said, the newest first. */
export function auditHandler(store: AuditStore, { clock, maxFollowers = DEFAULT_MAX_FOLLOWERS }: AuditHandlerOptions): AuditHandler {
  let followers = 0;
  return async ({ url }, response) => {
    const question = parseQuestion(url, clock.now());
    if (!question.follow) {
      await answer(store, question, response);
      return undefined;
    }
    if (followers >= maxFollowers) {
      throw new AppError("resource-exhausted", `${maxFollowers} others follow the record already`, {
        help: "end one of them, or ask without `--follow`",
      });
    }
    followers++;
    try {
      await answer(store, question, response);
    } finally {
      followers--;
    }
    return undefined;
  };
}
