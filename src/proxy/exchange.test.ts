import assert from "node:assert/strict";
import { Readable } from "node:stream";
import { test } from "node:test";
import { AppError } from "../core/error.ts";
import { type Downstream, Exchange, type Outcome } from "./exchange.ts";
import type { RequestHead, ResponseHead, UpstreamConnection, UpstreamRequest } from "./message.ts";
import type { Upstream } from "./upstream.ts";

const HEAD: RequestHead = {
  method: "GET",
  authority: "a",
  path: { path: "/", query: "" },
  headers: [],
  bodyLength: 0,
  webSocket: false,
  expectsContinue: false,
};
const REQUEST: UpstreamRequest = { write: () => true, end: () => undefined, resume: () => undefined, abort: () => undefined };

/** A client that notes what it is told; `head` may refuse to say something. */
function client(head: (response: ResponseHead) => void = () => undefined): Downstream & { readonly told: string[] } {
  const told: string[] = [];
  return {
    told,
    closed: false,
    body: Readable.from([]),
    trailers: () => [],
    last: () => undefined,
    attach: () => undefined,
    continue: () => undefined,
    upgrade: () => assert.fail("nobody asked for it"),
    head(response) {
      head(response);
      told.push(`head ${response.status}`);
    },
    data: (chunk) => told.push(String(chunk)) > 0,
    end: () => void told.push("end"),
    abort: () => void told.push("abort"),
  };
}

function run(downstream: Downstream, acquire: Upstream["acquire"]): { readonly exchange: Exchange; readonly outcomes: Outcome[] } {
  const outcomes: Outcome[] = [];
  const exchange = new Exchange(HEAD, downstream, { acquire, close: () => undefined }, (outcome) => outcomes.push(outcome));
  exchange.start();
  return { exchange, outcomes };
}

test("a connection that opens for a client that has gone meanwhile is given back unused", async () => {
  const opening = Promise.withResolvers<UpstreamConnection>();
  const released = Promise.withResolvers<void>();
  const { exchange, outcomes } = run(client(), () => opening.promise);
  exchange.onClosed();
  opening.resolve({ send: () => assert.fail("nothing may be sent"), release: () => released.resolve() });
  await released.promise;
  assert.deepEqual([outcomes.length, outcomes[0]?.status], [1, 0]);
});

test("a head that the client's side cannot say breaks the exchange off and nothing else", () => {
  const downstream = client(() => {
    throw new RangeError("no such status");
  });
  const { exchange, outcomes } = run(downstream, () => ({ send: () => REQUEST, release: () => undefined }));
  exchange.onHead({ status: 999, headers: [], hasBody: false, mayHaveTrailers: false });
  assert.deepEqual([downstream.told, outcomes.map(({ failure }) => failure?.message)], [["abort"], ["no such status"]]);
});

test("an upgrade that was not asked for breaks the exchange off", () => {
  const downstream = client();
  const { exchange, outcomes } = run(downstream, () => ({ send: () => REQUEST, release: () => undefined }));
  exchange.onHead({ status: 101, headers: [], hasBody: false, mayHaveTrailers: false });
  assert.equal(downstream.told.at(-1), "abort");
  assert.equal(outcomes.length, 1);
});

test("what comes after the end changes nothing: one outcome for one request", async () => {
  const downstream = client();
  const { exchange, outcomes } = run(downstream, () => Promise.reject(new AppError("unavailable", "nobody there")));
  await new Promise((resolve) => setImmediate(resolve));
  exchange.onFailure({ reason: "late", mayRetry: true });
  exchange.onClosed();
  assert.deepEqual([outcomes.length, outcomes[0]?.status, downstream.told[0]], [1, 503, "head 503"]);
});
