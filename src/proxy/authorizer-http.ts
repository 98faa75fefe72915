/** An authorizer that is asked by a request of HTTP, as Envoy asks one. */
import type { HttpAuthorizer } from "../compile/workload-policy.ts";
import { isShown, matchesHeader } from "../policy/authorizer-headers.ts";
import { type Answer, call } from "./authorizer-call.ts";
import { isAnswerable, isWritable, NO_CHANGES, type Verdict } from "./authorizer-verdict.ts";
import type { Check } from "./check.ts";
import { valuesOf } from "./headers.ts";
import type { HeaderList, RequestHead } from "./message.ts";
import type { Upstream } from "./upstream.ts";

/** By this header an authorizer names, in a list, what is to be taken out of a request that it allows. */
const REMOVE = "x-envoy-auth-headers-to-remove";
const PARTIAL = "x-envoy-auth-partial-body";

/** The answer's headers that a client gets with a denial, whatever the list says. */
const ALWAYS_TOLD: ReadonlySet<string> = new Set(["www-authenticate", "location"]);

/** Of a header that comes several times, all values count (CVE-2021-32777 was the last one alone). */
function shownHeaders(authorizer: HttpAuthorizer, headers: HeaderList): Map<string, string> {
  const shown = new Map<string, string>();
  for (let index = 0; index < headers.length; index += 2) {
    const [name = "", value = ""] = [headers[index], headers[index + 1]];
    if (!isShown(authorizer, name)) continue;
    const before = shown.get(name);
    shown.set(name, before === undefined ? value : `${before},${value}`);
  }
  return shown;
}

function questionOf(authorizer: HttpAuthorizer, { head, body }: Check & { readonly head: RequestHead }): RequestHead {
  const headers = shownHeaders(authorizer, head.headers);
  headers.delete("te");
  if (body !== undefined) headers.set(PARTIAL, String(body.partial));
  for (const { name, value } of authorizer.includeAdditionalHeadersInCheck) headers.set(name, value);
  return {
    method: head.method,
    authority: head.authority,
    path: { ...head.path, path: authorizer.pathPrefix + head.path.path },
    headers: [...headers].flat(),
    bodyLength: body?.bytes.length ?? 0,
    webSocket: false,
    expectsContinue: false,
  };
}

function pairsOf(headers: HeaderList): readonly (readonly [string, string])[] {
  return headers.flatMap((name, index) => (index % 2 === 0 ? [[name, headers[index + 1] ?? ""] as const] : []));
}

function allowedBy(authorizer: HttpAuthorizer, { headers }: Answer): Verdict {
  const removed = valuesOf(headers, REMOVE).flatMap((line) => line.split(","));
  const answered = pairsOf(headers).filter(([name]) => name !== REMOVE);
  const fitting = (patterns: HttpAuthorizer["headersToUpstreamOnAllow"]) => answered.filter(([name]) => matchesHeader(patterns, name));
  const request = fitting(authorizer.headersToUpstreamOnAllow).filter(([name]) => isWritable(name));
  const response = fitting(authorizer.headersToDownstreamOnAllow).filter(([name]) => isAnswerable(name));
  return {
    kind: "allow",
    changes: {
      ...NO_CHANGES,
      request: request.map(([name, value]) => ({ name, value, how: "set" })),
      removed: removed.map((name) => name.trim().toLowerCase()).filter((name) => name !== "" && isWritable(name)),
      response: response.map(([name, value]) => ({ name, value, how: "add" })),
    },
  };
}

function deniedBy({ headersToDownstreamOnDeny: patterns }: HttpAuthorizer, { status, headers, body }: Answer): Verdict {
  const told = pairsOf(headers).filter(([name]) => patterns.length === 0 || ALWAYS_TOLD.has(name) || matchesHeader(patterns, name));
  return { kind: "deny", status, headers: told.filter(([name]) => name !== REMOVE).flat(), body };
}

/** Asks. 200 allows, 5xx is no answer, anything else is the denial itself. */
export async function askOverHttp(authorizer: HttpAuthorizer, upstream: Upstream, check: Check): Promise<Verdict> {
  const { head } = check;
  if (head === undefined) return { kind: "error", reason: "a connection is no request of HTTP" };
  const answer = await call(
    upstream,
    questionOf(authorizer, { ...check, head }),
    check.body?.bytes ?? Buffer.alloc(0),
    authorizer.timeoutMs,
  );
  if (answer.status >= 500) return { kind: "error", reason: `it answered with status ${answer.status}` };
  return answer.status === 200 ? allowedBy(authorizer, answer) : deniedBy(authorizer, answer);
}
