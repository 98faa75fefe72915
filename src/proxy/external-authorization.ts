/** CUSTOM rules in the embedded proxy: whom a request or connection is asked of, and what comes of the answers. */
import type { Authorizer } from "../compile/workload-policy.ts";
import { matchesHeader } from "../policy/authorizer-headers.ts";
import type { Asking, AuthorizerAnswer } from "../policy/decision.ts";
import type { StringMatch } from "../policy/pattern.ts";
import type { AuthorizerClients } from "./authorizer-clients.ts";
import { applyChange, type Changes, type HeaderChange, NO_CHANGES, type Verdict } from "./authorizer-verdict.ts";
import type { ShownBody } from "./check.ts";
import type { PeerConnection } from "./client-facts.ts";
import type { Downstream } from "./exchange.ts";
import type { HeaderList, RequestHead } from "./message.ts";
import { setParam, withoutParam } from "./query.ts";
import { RequestBody } from "./request-body.ts";

export type Answers = ReadonlyMap<string, AuthorizerAnswer>;

/** A request that no authorizer refuses, as it goes on. */
export interface Passed {
  readonly kind: "passed";
  readonly head: RequestHead;
  readonly downstream: Downstream;
  readonly answers: Answers;
}

/** How a request is answered that does not go on. */
export interface Stopped {
  readonly kind: "stopped";
  /** Undefined where it was not asked of anybody. */
  readonly asking: Asking | undefined;
  readonly status: number;
  readonly headers: HeaderList;
  readonly body: Buffer;
  readonly detail: string;
}

const EMPTY = Buffer.alloc(0);

/** Envoy's answer to a body that is larger than what it may keep. */
const TOO_LARGE: Stopped = {
  kind: "stopped",
  asking: undefined,
  status: 413,
  headers: ["content-type", "text/plain"],
  body: Buffer.from("Payload Too Large"),
  detail: "request_payload_too_large",
};

const GONE: Stopped = {
  kind: "stopped",
  asking: undefined,
  status: 0,
  headers: [],
  body: EMPTY,
  detail: "the client went before its body was there",
};

/** Takes out what only the proxy may say. */
export function withoutReserved(head: RequestHead, reserved: readonly StringMatch[]): RequestHead {
  if (reserved.length === 0) return head;
  return { ...head, headers: head.headers.filter((_, index) => !matchesHeader(reserved, head.headers[index & ~1] ?? "")) };
}

function withChanges(head: RequestHead, { request, removed, querySet, queryRemoved }: Changes): RequestHead {
  const kept = head.headers.filter((_, index) => !removed.includes(head.headers[index & ~1] ?? ""));
  const headers = request.reduce(applyChange, removed.length === 0 ? head.headers : kept);
  const set = querySet.reduce((query, [name, value]) => setParam(query, name, value), head.path.query);
  const query = queryRemoved.reduce(withoutParam, set);
  return { ...head, headers, path: { ...head.path, query } };
}

function stoppedBy(asking: Asking, verdict: Exclude<Verdict, { readonly kind: "allow" }>, authorizer: Authorizer | undefined): Stopped {
  const { provider } = asking;
  if (verdict.kind === "deny") return { ...verdict, kind: "stopped", asking, detail: `provider ${provider} denies` };
  const status = authorizer?.statusOnError ?? 403;
  return {
    kind: "stopped",
    asking,
    status,
    headers: [],
    body: EMPTY,
    detail: `provider ${provider} could not be asked: ${verdict.reason}`,
  };
}

/** Whether a request goes on although an authorizer could not be asked. */
function passesAnyway(verdict: Verdict, authorizer: Authorizer | undefined): boolean {
  return verdict.kind === "error" && authorizer?.failOpen === true;
}

export class ExternalAuthorization {
  readonly #clients: AuthorizerClients;

  constructor(clients: AuthorizerClients) {
    this.#clients = clients;
  }

  /** Asks each authorizer in order; the first that does not allow stops. Never rejects. */
  async askHttp(
    askings: readonly Asking[],
    original: RequestHead,
    downstream: Downstream,
    connection: PeerConnection,
  ): Promise<Passed | Stopped> {
    const body = new RequestBody(downstream);
    const response: HeaderChange[] = [];
    let head = original;
    for (const asking of askings) {
      const verdict = await this.#askOne(asking, head, downstream, connection, body);
      if (verdict.kind === "stopped") {
        await body.release();
        return verdict;
      }
      head = withChanges(head, verdict);
      response.push(...verdict.response);
    }
    const answers = new Map(askings.map(({ provider }) => [provider, "allow" as const]));
    const expectsContinue = head.expectsContinue && !body.wasRead;
    return { kind: "passed", head: { ...head, expectsContinue }, downstream: body.replay(response), answers };
  }

  async #askOne(
    asking: Asking,
    head: RequestHead,
    downstream: Downstream,
    connection: PeerConnection,
    requestBody: RequestBody,
  ): Promise<(Changes & { readonly kind: "allow" }) | Stopped> {
    const authorizer = this.#clients.find(asking.provider);
    const body = await this.#bodyFor(authorizer, head, downstream, requestBody);
    if (body !== undefined && "kind" in body) return body;
    const verdict = await this.#clients.ask(asking.provider, { connection, head, body });
    if (verdict.kind === "allow") return { kind: "allow", ...verdict.changes };
    if (passesAnyway(verdict, authorizer)) return { kind: "allow", ...NO_CHANGES };
    return stoppedBy(asking, verdict, authorizer);
  }

  /** What a connection's authorizers answer, up to the first that does not allow, and why that is so. Never rejects. */
  async askTcp(askings: readonly Asking[], connection: PeerConnection): Promise<{ readonly answers: Answers; readonly detail: string }> {
    const answers = new Map<string, AuthorizerAnswer>();
    for (const asking of askings) {
      const authorizer = this.#clients.find(asking.provider);
      const verdict = await this.#clients.ask(asking.provider, { connection, head: undefined, body: undefined });
      if (verdict.kind !== "allow" && !passesAnyway(verdict, authorizer))
        return { answers: answers.set(asking.provider, "deny"), detail: stoppedBy(asking, verdict, authorizer).detail };
      answers.set(asking.provider, "allow");
    }
    return { answers, detail: "" };
  }

  /** As much of the body as the authorizer is shown; undefined where it is shown none, or there is none. */
  async #bodyFor(
    authorizer: Authorizer | undefined,
    head: RequestHead,
    downstream: Downstream,
    body: RequestBody,
  ): Promise<ShownBody | Stopped | undefined> {
    const shown = authorizer?.includeRequestBodyInCheck;
    if (shown === undefined || head.bodyLength === 0 || head.webSocket) return undefined;
    const { maxRequestBytes: max, allowPartialMessage } = shown;
    if (!allowPartialMessage && head.bodyLength !== undefined && head.bodyLength > max) return TOO_LARGE;
    if (head.expectsContinue && !body.wasRead) downstream.continue();
    if (!(await body.read(allowPartialMessage ? max : max + 1))) return GONE;
    if (!allowPartialMessage && body.length > max) return TOO_LARGE;
    return { bytes: body.bytes.subarray(0, max), partial: body.length > max };
  }
}
