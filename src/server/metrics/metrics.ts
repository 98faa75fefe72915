/**
 * What a control plane counts while it works, for Prometheus. Whoever may read it learns numbers and no names: each label is one of a few words that
 * are known here, so that neither a mesh's size nor what a caller writes makes more of them.
 */
import { Counter, Gauge, Histogram, Registry } from "prom-client";
import type { XdsEvent } from "../../xds/connection.ts";
import type { MetricSources, Reading } from "./reading.ts";
import { READINGS } from "./readings.ts";

/** How an event is counted. */
interface Description {
  readonly name: string;
  readonly help: string;
  readonly labelNames: readonly string[];
}

/** Seconds: a push to a proxy nearby takes milliseconds, an agent gives up after ten seconds. */
const BUCKETS = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10];

/** What is counted as it happens. */
export const EVENTS = {
  requests: {
    name: "garrison_identity_requests_total",
    help: "Requests for certificates, JWT-SVIDs and what goes with them, by method and gRPC status: OK is issued, UNAUTHENTICATED and PERMISSION_DENIED are refused, RESOURCE_EXHAUSTED is sent away, UNAVAILABLE is what the CA could not do",
    labelNames: ["method", "code"],
  },
  requestTime: {
    name: "garrison_identity_request_duration_seconds",
    help: "How long these took, with the time in the queue",
    labelNames: ["method"],
  },
  answers: {
    name: "garrison_xds_answers_total",
    help: "What proxies answered to the configuration that they were sent: ack, or nack for what they refused, by its type",
    labelNames: ["type", "answer"],
  },
  answerTime: {
    name: "garrison_xds_answer_duration_seconds",
    help: "How long it took a proxy to answer, from when the configuration was sent",
    labelNames: ["type"],
  },
  reviews: {
    name: "garrison_webhook_reviews_total",
    help: "What API servers were answered: allowed, refused, or failed where the webhook could not tell",
    labelNames: ["webhook", "verdict"],
  },
  reviewTime: { name: "garrison_webhook_review_duration_seconds", help: "How long an answer took", labelNames: ["webhook"] },
  states: {
    name: "garrison_mesh_states_total",
    help: "States of the mesh that were put in force, each of which is pushed to the proxies that it concerns",
    labelNames: [],
  },
} as const satisfies Readonly<Record<string, Description>>;

/** Types of resources, by the last word of their names; an authenticated client may ask for any other. */
const TYPES: ReadonlySet<string> = new Set([
  "Listener",
  "RouteConfiguration",
  "Cluster",
  "ClusterLoadAssignment",
  "Secret",
  "TypedExtensionConfig",
  "ProxyPolicy",
]);

const VERDICTS = ["allowed", "refused", "failed"] as const;
export type Verdict = (typeof VERDICTS)[number];

/** Of gRPC: those that are to be expected. */
const CODES = ["OK", "INVALID_ARGUMENT", "UNAUTHENTICATED", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "UNAVAILABLE"];

export class Metrics {
  readonly #registry = new Registry();
  readonly #registers = [this.#registry];
  readonly #requests = new Counter({ ...EVENTS.requests, registers: this.#registers });
  readonly #requestTime = new Histogram({ ...EVENTS.requestTime, buckets: BUCKETS, registers: this.#registers });
  readonly #answers = new Counter({ ...EVENTS.answers, registers: this.#registers });
  readonly #answerTime = new Histogram({ ...EVENTS.answerTime, buckets: BUCKETS, registers: this.#registers });
  readonly #reviews = new Counter({ ...EVENTS.reviews, registers: this.#registers });
  readonly #reviewTime = new Histogram({ ...EVENTS.reviewTime, buckets: BUCKETS, registers: this.#registers });
  readonly #states = new Counter({ ...EVENTS.states, registers: this.#registers });

  /** As long as nothing has happened there is a zero, or the first time would be no increase. */
  constructor() {
    for (const type of [...TYPES, "other"]) for (const answer of ["ack", "nack"]) this.#answers.inc({ type, answer }, 0);
  }

  /** These will be counted. */
  serves({ methods = [], webhooks = [] }: { readonly methods?: readonly string[]; readonly webhooks?: readonly string[] }): void {
    for (const method of methods) for (const code of CODES) this.#requests.inc({ method, code }, 0);
    for (const webhook of webhooks) for (const verdict of VERDICTS) this.#reviews.inc({ webhook, verdict }, 0);
  }

  /** `method` and `code` are names of ours and of gRPC. */
  request(method: string, code: string, seconds: number): void {
    this.#requests.inc({ method, code });
    this.#requestTime.observe({ method }, seconds);
  }

  xds(event: XdsEvent): void {
    if (event.kind !== "ack" && event.kind !== "nack") return;
    const name = event.typeUrl.slice(event.typeUrl.lastIndexOf(".") + 1);
    const type = TYPES.has(name) ? name : "other";
    this.#answers.inc({ type, answer: event.kind });
    this.#answerTime.observe({ type }, event.latencyMs / 1000);
  }

  review(webhook: string, verdict: Verdict, seconds: number): void {
    this.#reviews.inc({ webhook, verdict });
    this.#reviewTime.observe({ webhook }, seconds);
  }

  published(): void {
    this.#states.inc();
  }

  /** From now on the rest is there too, read whenever somebody asks. */
  follow(sources: MetricSources): void {
    for (const reading of READINGS) this.#add(reading, sources);
  }

  #add({ kind, name, help, labels: labelNames, read }: Reading, sources: MetricSources): void {
    const common = { name, help, labelNames, registers: this.#registers };
    if (kind === "gauge") {
      const gauge = new Gauge({
        ...common,
        collect: () => {
          gauge.reset();
          for (const { value, ...labels } of read(sources)) gauge.set(labels, value);
        },
      });
      return;
    }
    const counter = new Counter({
      ...common,
      collect: () => {
        counter.reset();
        for (const { value, ...labels } of read(sources)) counter.inc(labels, value);
      },
    });
  }

  /** In Prometheus' text format, version 0.0.4. */
  text(): Promise<string> {
    return this.#registry.metrics();
  }

  get contentType(): string {
    return this.#registry.contentType;
  }
}
