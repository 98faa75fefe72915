/** Values of a clause, joined by OR, as one predicate. What a value's kind does not fit is an error, never a mismatch. */
import { AppError } from "../../core/error.ts";
import type { SpiffeId } from "../../identity/spiffe-id.ts";
import { blockContains, type IpAddress } from "../../policy/ip-block.ts";
import type { StringMatch, TemplateSegment, ValueMatch } from "../../policy/pattern.ts";

type Test<T> = (value: T) => boolean;

/** A value of a kind that its attribute does not have. */
export function unfit(value: ValueMatch, expected: string): AppError {
  return new AppError("invalid-configuration", `a value of kind \`${String(value.kind)}\` stands where ${expected} is expected`, {
    help: "the control plane and this proxy are of different versions: use the same one for both",
  });
}

function anyOf<T>(tests: readonly Test<T>[]): Test<T> {
  const [only] = tests;
  if (only !== undefined && tests.length === 1) return only;
  return (value) => {
    for (const test of tests) if (test(value)) return true;
    return false;
  };
}

/** Letters of ASCII in lower case and nothing else: in the others no proxy knows case, and `K` (U+212A) must not become `k`. */
export function foldCase(text: string): string {
  return text.replace(/[A-Z]+/g, (letters) => letters.toLowerCase());
}

/** AZ-9: `{*}` is one segment and not empty, `{**}` is anything, so that `/x/{**}` matches `/x/` and not `/x`. */
function templateTest(segments: readonly TemplateSegment[]): Test<string> {
  const source = segments.map((segment) => {
    if (segment.kind === "one") return "[^/]+";
    if (segment.kind === "rest") return "[^]*";
    return segment.value.replace(/[.*+?^${}()|[\]\\/]/g, "\\$&");
  });
  const regex = new RegExp(`^/${source.join("/")}$`);
  return (path) => regex.test(path);
}

function stringTest(value: ValueMatch, fold: boolean): Test<string> {
  const text = (match: StringMatch & { readonly value: string }): string => (fold ? foldCase(match.value) : match.value);
  switch (value.kind) {
    case "prefix": {
      const prefix = text(value);
      return (candidate) => candidate.startsWith(prefix);
    }
    case "suffix": {
      const suffix = text(value);
      return (candidate) => candidate.endsWith(suffix);
    }
    case "exact": {
      const exact = text(value);
      return (candidate) => candidate === exact;
    }
    case "present":
      return (candidate) => candidate !== "";
    case "template":
      return templateTest(value.segments);
    default:
      throw unfit(value, "text");
  }
}

/** Text; with `fold`, the candidate comes from `foldCase` and the values are made so. Many exact values cost as much as one. */
export function compileStrings(values: readonly ValueMatch[], fold = false): Test<string> {
  const exact = values.flatMap((value) => (value.kind === "exact" ? [fold ? foldCase(value.value) : value.value] : []));
  if (exact.length < 4) return anyOf(values.map((value) => stringTest(value, fold)));
  const known = new Set(exact);
  const others = values.filter((value) => value.kind !== "exact").map((value) => stringTest(value, fold));
  return anyOf([(candidate: string) => known.has(candidate), ...others]);
}

export function compileBlocks(values: readonly ValueMatch[]): Test<IpAddress> {
  return anyOf(
    values.map((value) => {
      if (value.kind !== "ip") throw unfit(value, "an address block");
      return (address: IpAddress) => blockContains(value.block, address);
    }),
  );
}

export function compilePorts(values: readonly ValueMatch[]): Test<number> {
  return anyOf(
    values.map((value) => {
      if (value.kind !== "port") throw unfit(value, "a port");
      return (port: number) => port === value.port;
    }),
  );
}

export function compileServiceAccounts(values: readonly ValueMatch[]): Test<SpiffeId> {
  return anyOf(
    values.map((value) => {
      if (value.kind !== "service-account") throw unfit(value, "a service account");
      return (id: SpiffeId) => id.serviceAccount === value.name && id.namespace === value.namespace;
    }),
  );
}
