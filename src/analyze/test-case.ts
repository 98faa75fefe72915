/**
 * Expectations as data: the file that `garrison authz test` reads, and the form of every case of `test/corpus`.
 * A request, and what must come of it by which rule.
 */
import type { Place } from "../core/diagnostic.ts";
import { parseSpiffeId } from "../identity/spiffe-id.ts";
import type { RawNode } from "../policy/decode/raw-node.ts";
import { type Decoder, integer, list, mapOf, record, stringUpTo, text, wrong } from "../policy/decode/reader.ts";
import { ipAddress, matching, oneOf } from "../policy/decode/refine.ts";
import { quote, type Report } from "../policy/decode/report.ts";

/** What a test asks of a workload's proxy. */
export interface TestRequest {
  /** A SPIFFE ID proved by mutual TLS, or undefined for plaintext. */
  readonly from: string | undefined;
  /** The workload's port; undefined where it has but one. */
  readonly port: number | undefined;
  readonly protocol: "http" | "tcp" | undefined;
  readonly method: string;
  /** As sent, before normalization. */
  readonly path: string;
  /** Undefined sends the service's own name. */
  readonly host: string | undefined;
  /** Names in lower case. */
  readonly headers: ReadonlyMap<string, readonly string[]>;
  readonly sni: string | undefined;
  /** Where the connection comes from; undefined is 127.0.0.1. */
  readonly sourceIp: string | undefined;
}

/** `refused`: no connection. A number is the HTTP status of the answer. */
export type Expectation = "allow" | "deny" | "refused" | number;

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
  /** What only one of the engines can be asked, with the reason; undefined runs in both. */
  readonly only: "decide" | "envoy" | undefined;
  readonly place: Place;
}

const MAX_TESTS = 10_000;
const MAX_RULES = 512;
const MAX_HEADERS = 100;
const MAX_HEADER_BYTES = 16_384;

const workloadName = matching((value) => /^[a-z0-9.-]+\/[a-z0-9.-]+$/.test(value), "a workload or service", "write it as NAMESPACE/NAME");

const origin = matching(
  (value) => value === "default" || value === "no-policy" || /^[a-z0-9.-]+\/[a-z0-9.-]+\[\d+\]$/.test(value),
  "a rule",
  "write `NAMESPACE/POLICY[RULE]`, `default` or `no-policy`",
);

const PLAINTEXT = Symbol("plaintext");

const caller: Decoder<string | typeof PLAINTEXT> = (cursor) => {
  const value = text(cursor);
  if (value === undefined) return undefined;
  if (value === "plaintext") return PLAINTEXT;
  try {
    parseSpiffeId(value);
    return value;
  } catch {
    return wrong(
      cursor,
      "GAR0007",
      `is not a caller: ${quote(value)}`,
      "write a SPIFFE ID such as `spiffe://cluster.local/ns/shop/sa/cart`, or `plaintext`",
    );
  }
};

const headerName: Decoder<string> = (cursor) => {
  const name = text(cursor);
  if (name === undefined || /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}$/.test(name)) return name?.toLowerCase();
  return wrong(cursor, "GAR0007", `is not a header name: ${quote(name)}`);
};

const headerText = stringUpTo(MAX_HEADER_BYTES);

/** One value, or a list for a header that comes several times. */
const headerValues: Decoder<readonly string[]> = (cursor) => {
  if (cursor.node.kind === "list") return list(headerText, { min: 1, max: MAX_HEADERS })(cursor);
  const value = headerText(cursor);
  return value === undefined ? undefined : [value];
};

const NO_HEADERS: ReadonlyMap<string, readonly string[]> = new Map();

const request = record((fields): TestRequest => {
  const from = fields.required("from", caller, "say who asks: a SPIFFE ID, or `plaintext`");
  return {
    from: from === PLAINTEXT ? undefined : from,
    port: fields.optional("port", integer(1, 65_535)),
    protocol: fields.optional("protocol", oneOf(["http", "tcp"])),
    method: fields.optional("method", text) ?? "GET",
    path: fields.optional("path", text) ?? "/",
    host: fields.optional("host", text),
    headers: fields.optional("headers", mapOf(headerName, headerValues, { max: MAX_HEADERS })) ?? NO_HEADERS,
    sni: fields.optional("sni", text),
    sourceIp: fields.optional("sourceIp", ipAddress),
  };
});

const expectation: Decoder<Expectation> = (cursor) => {
  const { node } = cursor;
  return node.kind === "scalar" && typeof node.value === "number" ? integer(100, 599)(cursor) : oneOf(["allow", "deny", "refused"])(cursor);
};

const testCase = record((fields): TestCase | undefined => {
  const name = fields.required("name", text);
  const workload = fields.required("workload", workloadName);
  const asked = fields.required("request", request);
  const expect = fields.required("expect", expectation);
  const by = fields.optional("by", origin);
  const audit = fields.optional("audit", list(origin, { max: MAX_RULES }));
  const only = fields.optional("only", oneOf(["decide", "envoy"]));
  if (name === undefined || workload === undefined || asked === undefined || expect === undefined) return undefined;
  return { name, workload, request: asked, expect, by, audit, only, place: fields.cursor.node.place };
});

const testFile = record((fields) => fields.required("tests", list(testCase, { min: 1, max: MAX_TESTS })));

/** The tests of one document, or undefined with the reasons in the report. */
export function decodeTests(node: RawNode, report: Report): readonly TestCase[] | undefined {
  return testFile({ node, path: "", report });
}
