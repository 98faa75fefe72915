/** Which headers an authorizer may write, and which ones only it may write. */
import type { HttpExtensionProvider } from "./extension-provider.ts";
import type { StringMatch } from "./pattern.ts";

/**
 * What frames a request, says where it goes, or is a proxy's own word: no answer of an authorizer writes or removes it,
 * so that later rules and the application see the request that came. Pseudo-headers, Host and `x-envoy-…` besides.
 */
export const PROTECTED_HEADERS = [
  "connection",
  "content-length",
  "te",
  "transfer-encoding",
  "upgrade",
  "x-forwarded-client-cert",
  "x-forwarded-proto",
] as const;

/** What every authorizer over HTTP is shown, whatever its list says. */
const ALWAYS_SHOWN: ReadonlySet<string> = new Set(["authorization", ":method", ":path", ":authority", "host"]);

/** Whether a name in lower case fits one of the patterns. */
export function matchesHeader(patterns: readonly StringMatch[], name: string): boolean {
  return patterns.some((pattern) => {
    if (pattern.kind === "present") return true;
    if (pattern.kind === "exact") return name === pattern.value;
    return pattern.kind === "prefix" ? name.startsWith(pattern.value) : name.endsWith(pattern.value);
  });
}

/** Whether a request's header is a part of what an authorizer over HTTP is asked. */
export function isShown(
  { includeRequestHeadersInCheck }: Pick<HttpExtensionProvider, "includeRequestHeadersInCheck">,
  name: string,
): boolean {
  return ALWAYS_SHOWN.has(name) || matchesHeader(includeRequestHeadersInCheck, name);
}

/** Whether some name could fit both. */
function overlap(left: StringMatch, right: StringMatch): boolean {
  if (left.kind === "present" || right.kind === "present") return true;
  if (left.kind === "exact") return matchesHeader([right], left.value);
  if (right.kind === "exact") return matchesHeader([left], right.value);
  if (left.kind !== right.kind) return true;
  const [longer, shorter] = left.value.length < right.value.length ? [right.value, left.value] : [left.value, right.value];
  return left.kind === "prefix" ? longer.startsWith(shorter) : longer.endsWith(shorter);
}

type Writer = Pick<HttpExtensionProvider, "headersToUpstreamOnAllow" | "includeRequestHeadersInCheck">;

/**
 * What an authorizer over HTTP writes on its own word, without having been shown what a client says there: a client may
 * not say it, or the application would take a forged one for the authorizer's. Of `headersToUpstreamOnAllow`, the
 * patterns that no shown header fits.
 */
export function reservedHeaders({ headersToUpstreamOnAllow, includeRequestHeadersInCheck }: Writer): readonly StringMatch[] {
  const shown: readonly StringMatch[] = [
    ...includeRequestHeadersInCheck,
    ...[...ALWAYS_SHOWN].map((value) => ({ kind: "exact", value }) as const),
  ];
  return headersToUpstreamOnAllow.filter((pattern) => !shown.some((other) => overlap(pattern, other)));
}
