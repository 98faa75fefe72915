/**
 * Expectations as data: the file that `garrison authz test` reads, and the form of every case of `test/corpus`.
 * A request, and what must come of it by which rule.
 */
import type { Place } from "../core/diagnostic.ts";
import type { RawNode } from "../policy/decode/raw-node.ts";
import { type Decoder, list, record, text, wrong } from "../policy/decode/reader.ts";
import { matching, oneOf } from "../policy/decode/refine.ts";
import type { Report } from "../policy/decode/report.ts";
import { type TestRequest, testRequest } from "./test-request.ts";

/** What comes of a decision, of a refused token, or of a gateway's routes. */
const STATUSES = [200, 301, 401, 403, 404, 421, 503] as const;

/** `refused`: no connection, no request that a proxy takes, or no route that a gateway has for it. A number is the HTTP status of the answer. */
export type Expectation = "allow" | "deny" | "refused" | (typeof STATUSES)[number];

export interface TestCase {
  readonly name: string;
  /** `NAMESPACE/NAME` of a workload or of a service. */
  readonly workload: string;
  readonly request: TestRequest;
  readonly expect: Expectation;
  /** `NAMESPACE/POLICY[RULE]`, `default` or `no-policy`; undefined where the test does not ask. */
  readonly by: string | undefined;
  /** The AUDIT rules that match as well, as `NAMESPACE/POLICY[RULE]`; undefined where the test does not ask. */
  readonly audit: readonly string[] | undefined;
  /** What would come of it, were dry runs in force, and by which rule; absent where the test does not ask. */
  readonly dryRun?: "allow" | "deny";
  readonly dryRunBy?: string;
  /** What only one of the engines can be asked, with the reason; undefined runs in both. */
  readonly only: "decide" | "envoy" | undefined;
  readonly place: Place;
}

const MAX_TESTS = 10_000;
const MAX_RULES = 512;

const workloadName = matching((value) => /^[a-z0-9.-]+\/[a-z0-9.-]+$/.test(value), "a workload or service", "write it as NAMESPACE/NAME");

const RULE = /^[a-z0-9.-]+\/[a-z0-9.-]+\[\d{1,3}\]$/;

const rule = matching((value) => RULE.test(value), "a rule", "write `NAMESPACE/POLICY[RULE]`");

const origin = matching(
  (value) => value === "default" || value === "no-policy" || RULE.test(value),
  "a rule",
  "write `NAMESPACE/POLICY[RULE]`, `default` or `no-policy`",
);

const effect = oneOf(["allow", "deny", "refused"]);

const expectation: Decoder<Expectation> = (cursor) => {
  const value = cursor.node.kind === "scalar" ? cursor.node.value : undefined;
  if (typeof value !== "number") return effect(cursor);
  const status = STATUSES.find((one) => one === value);
  if (status !== undefined) return status;
  return wrong(
    cursor,
    "GAR0007",
    `is no status that comes of a decision: ${value}`,
    `write ${STATUSES.join(", ")}, \`allow\`, \`deny\` or \`refused\``,
  );
};

const testCase = record((fields): TestCase | undefined => {
  const name = fields.required("name", text);
  const workload = fields.required("workload", workloadName);
  const request = fields.required("request", testRequest);
  const expect = fields.required("expect", expectation);
  const by = fields.optional("by", origin);
  const audit = fields.optional("audit", list(rule, { max: MAX_RULES }));
  const dryRun = fields.optional("dryRun", oneOf(["allow", "deny"]));
  const dryRunBy = fields.optional("dryRunBy", origin);
  const only = fields.optional("only", oneOf(["decide", "envoy"]));
  if (name === undefined || workload === undefined || request === undefined || expect === undefined) return undefined;
  const tried = { ...(dryRun === undefined ? {} : { dryRun }), ...(dryRunBy === undefined ? {} : { dryRunBy }) };
  return { name, workload, request, expect, by, audit, ...tried, only, place: fields.cursor.node.place };
});

const testFile = record((fields) => fields.required("tests", list(testCase, { min: 1, max: MAX_TESTS })));

/** The tests of one document, or undefined with the reasons in the report. */
export function decodeTests(node: RawNode, report: Report): readonly TestCase[] | undefined {
  return testFile({ node, path: "", report });
}
