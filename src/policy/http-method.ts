/** Methods of HTTP. */

/**
 * What proxies take over HTTP/1.1 (RFC 9110 §9, and the registered ones that Envoy's and Node's parsers both know); anything
 * else gets 400. HTTP/2 carries any. Envoy alone would take `MSEARCH`, Node alone `M-SEARCH` and `QUERY`.
 */
const HTTP1_METHODS: ReadonlySet<string> = new Set([
  ...["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "TRACE", "PATCH"],
  ...["ACL", "BIND", "CHECKOUT", "COPY", "LINK", "LOCK", "MERGE", "MKACTIVITY", "MKCALENDAR", "MKCOL", "MOVE", "NOTIFY"],
  ...["PROPFIND", "PROPPATCH", "PURGE", "REBIND", "REPORT", "SEARCH", "SOURCE", "SUBSCRIBE", "UNBIND", "UNLINK", "UNLOCK", "UNSUBSCRIBE"],
]);

/**
 * Whether proxies take a request with this method. A QUERY says what it asks in its content, and without a Content-Type is
 * malformed (draft-ietf-httpbis-safe-method-w-body §2), which Envoy holds it to.
 */
export function isTakenMethod(method: string, version: "http" | "http2", contentTypes: readonly string[]): boolean {
  if (version === "http") return HTTP1_METHODS.has(method);
  return method !== "QUERY" || contentTypes.some((type) => type !== "");
}
