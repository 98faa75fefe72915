/**
 * Request headers of which Envoy keeps one value: lines of the same name are joined with a comma when they are read (RFC
 * 9110 §5.3), long before anything is matched. Seen with Envoy 1.40 by asking it of every registered name; held to it by
 * `test/corpus/cases/headers-joined.yaml`.
 */
export const JOINED_HEADERS: ReadonlySet<string> = new Set([
  "accept",
  "accept-encoding",
  "access-control-request-headers",
  "access-control-request-method",
  "access-control-request-private-network",
  "authorization",
  "cache-control",
  "cdn-loop",
  "content-encoding",
  "content-type",
  "grpc-accept-encoding",
  "grpc-timeout",
  "if-match",
  "if-modified-since",
  "if-none-match",
  "if-range",
  "if-unmodified-since",
  "origin",
  "pragma",
  "proxy-status",
  "referer",
  "user-agent",
  "via",
  "x-client-trace-id",
  "x-forwarded-for",
  "x-forwarded-host",
  "x-forwarded-port",
  "x-request-id",
]);

/** The one value that comes of a header's lines; an empty line adds nothing. */
export function joinLines(lines: readonly string[]): string {
  return lines.length === 1 ? (lines[0] ?? "") : lines.filter((line) => line !== "").join(",");
}
