import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { type ResourcesOfType, resource, versionOf } from "./cache.ts";
import type { Push } from "./push.ts";
import type { Resource } from "./resource.ts";
import { Subscription } from "./subscription.ts";
import { PLAIN } from "./test-support.ts";
import { CLUSTER, EXTENSION, FIRST_ANSWER_ONLY, LISTENER, type Phase, WILDCARD_TYPES } from "./types.ts";

type VariantName = "delta" | "sotw";

const NAMES = ["a", "b", "c", "d", "e"];
/** A client refuses a response as a whole when any resource in it has this text. */
const BAD = "bad";

/** A server's subscription and a client that is as forgetful as the protocol allows, with a world that changes between them. */
class Model {
  readonly typeUrl: string;
  readonly variant: VariantName;
  readonly subscription: Subscription;
  readonly world = new Map<string, string>();
  readonly client = new Map<string, string>();
  readonly explicit = new Set<string>();
  /** By name what was sent last: an Envoy acknowledges the same extension config again even though it has refused it. */
  readonly tried = new Map<string, string>();
  wildcard = false;
  inFlight: { readonly push: Push; readonly nonce: string } | undefined;
  responses = 0;

  constructor(typeUrl: string, variant: VariantName) {
    this.typeUrl = typeUrl;
    this.variant = variant;
    this.subscription = new Subscription(typeUrl, variant);
  }

  get isComplete(): boolean {
    return this.variant === "sotw" && WILDCARD_TYPES.has(this.typeUrl);
  }

  wants(name: string): boolean {
    return this.wildcard || this.explicit.has(name);
  }

  resources(): ResourcesOfType {
    return new Map([...this.world].map(([name, text]): [string, Resource] => [name, resource(name, Buffer.from(text))]));
  }

  change(name: string, text: string | undefined): void {
    if (text === undefined) this.world.delete(name);
    else this.world.set(name, text);
    this.subscription.touch();
  }

  name(name: string, wanted: boolean): void {
    if (name !== "*" && !wanted && !this.explicit.has(name)) return; // what the wildcard gave cannot be given back
    if (name === "*") this.wildcard = wanted && WILDCARD_TYPES.has(this.typeUrl);
    else if (wanted) this.explicit.add(name);
    else this.explicit.delete(name);
    if (this.variant === "sotw") this.subscription.replace([...(this.wildcard ? ["*"] : []), ...this.explicit, "never there"]);
    else if (wanted) this.subscription.subscribe([name]);
    else this.subscription.unsubscribe([name]);
    const changed = name === "*" ? [...this.client.keys()].filter((known) => !this.explicit.has(known)) : [name];
    if (this.variant === "delta" || !wanted) for (const known of changed) this.client.delete(known);
  }

  push(): boolean {
    if (this.inFlight !== undefined) return false;
    const resources = this.resources();
    for (const phase of ["make", "break"] satisfies Phase[]) {
      if (!this.subscription.isDue(phase)) continue;
      const push = this.subscription.next(resources, versionOf(resources), phase);
      if (push === undefined) continue;
      this.responses += 1;
      this.inFlight = { push, nonce: String(this.responses) };
      this.subscription.commit(push, this.inFlight.nonce, versionOf(resources), 0);
      return true;
    }
    return false;
  }

  answer(): boolean {
    if (this.inFlight === undefined) return false;
    const { push, nonce } = this.inFlight;
    this.inFlight = undefined;
    const texts = push.resources.map(({ name, body }) => [name, Buffer.from(body).toString()] as const);
    const refused = texts.some(([, text]) => text === BAD);
    const repeated =
      FIRST_ANSWER_ONLY.has(this.typeUrl) && texts.length > 0 && texts.every(([name, text]) => this.tried.get(name) === text);
    for (const [name, text] of texts) this.tried.set(name, text);
    for (const name of push.removed) this.tried.delete(name);
    if (!refused) this.#apply(texts, push.removed);
    assert.ok(this.subscription.answer(nonce, refused && !repeated ? "bad" : undefined, 0));
    return true;
  }

  #apply(texts: readonly (readonly [string, string])[], removed: readonly string[]): void {
    if (this.isComplete) this.client.clear();
    for (const [name, text] of texts) if (this.wants(name)) this.client.set(name, text);
    if (this.variant === "delta") for (const name of removed) this.client.delete(name);
  }

  settle(): void {
    for (let turns = 0; this.push() || this.answer(); turns++) assert.ok(turns < 500, "the server and the client never come to rest");
  }
}

const step = fc.oneof(
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant("change" as const),
      name: fc.constantFrom(...NAMES),
      text: fc.constantFrom("1", "2", BAD, undefined),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("name" as const), name: fc.constantFrom("*", ...NAMES), wanted: fc.boolean() }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant("push" as const) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant("answer" as const) }) },
);
type ModelStep = typeof step extends fc.Arbitrary<infer T> ? T : never;

function take(model: Model, action: ModelStep): void {
  if (action.kind === "change") model.change(action.name, action.text);
  else if (action.kind === "name") model.name(action.name, action.wanted);
  else if (action.kind === "push") model.push();
  else model.answer();
}

/** What must hold once nothing moves: the client runs every good resource that it wants, and nothing bad. */
function check(model: Model): void {
  const wanted = [...model.world].filter(([name]) => model.wants(name));
  const bad = wanted.filter(([, text]) => text === BAD).map(([name]) => name);
  const heldBack = model.isComplete && bad.length > 0;
  const good = heldBack ? [] : wanted.filter(([, text]) => text !== BAD);
  for (const [name, text] of good) {
    assert.equal(model.client.get(name), text);
    assert.equal(model.subscription.accepted(name), resource(name, Buffer.from(text)).version);
  }
  assert.ok(![...model.client.values()].includes(BAD));
  const ghosts = [...model.client.keys()].filter((name) => !model.world.has(name));
  assert.deepEqual(heldBack || (model.variant === "sotw" && !model.isComplete) ? [] : ghosts, []);
  for (const name of bad) assert.ok(model.subscription.isRejected(name));
  assert.equal(model.subscription.state, bad.length > 0 ? "rejected" : "acked");
}

for (const variant of ["delta", "sotw"] as const) {
  for (const typeUrl of [CLUSTER, LISTENER, EXTENSION, PLAIN]) {
    test(`${variant}, ${typeUrl.split(".").pop()}: after any history the client runs all that is good and nothing that is bad`, () => {
      const histories = fc.array(step, { maxLength: 40 });
      const holds = (steps: readonly ModelStep[]): void => {
        const model = new Model(typeUrl, variant);
        for (const action of steps) take(model, action);
        model.settle();
        check(model);
      };
      fc.assert(fc.property(histories, holds), { numRuns: 1_000 });
    });
  }
}

test("nothing is sent twice: a history without requests or refusals costs one response for each change that was answered", () => {
  const model = new Model(PLAIN, "delta");
  model.name("a", true);
  model.settle();
  for (const text of ["1", "1", "2", "2", "1"]) {
    model.change("a", text);
    model.settle();
  }
  assert.equal(model.responses, 4);
});

test("a cluster that came and went before what is gone was looked at is removed", () => {
  const subscription = new Subscription(CLUSTER, "delta");
  const push = (texts: Readonly<Record<string, string>>, phase: Phase): readonly string[] | undefined => {
    const resources: ResourcesOfType = new Map(Object.entries(texts).map(([name, text]) => [name, resource(name, Buffer.from(text))]));
    const next = subscription.next(resources, versionOf(resources), phase);
    if (next === undefined) return undefined;
    subscription.commit(next, "n", versionOf(resources), 0);
    subscription.answer("n", undefined, 0);
    return [...next.resources.map(({ name }) => `+${name}`), ...next.removed.map((name) => `-${name}`)];
  };
  subscription.subscribeByDefault();
  assert.deepEqual([push({ a: "1" }, "make"), push({ a: "1" }, "break")], [["+a"], undefined]);
  subscription.touch();
  assert.deepEqual(push({ a: "1", b: "1" }, "make"), ["+b"]);
  subscription.touch();
  assert.deepEqual([push({ a: "1" }, "make"), push({ a: "1" }, "break")], [undefined, ["-b"]]);
});
