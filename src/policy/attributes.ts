/**
 * THE table of attributes: everything that is known about one attribute stands in its row. Decoding (fields of `from`
 * and `to`, keys of `when`, the negatives), validation, the TCP rule, analysis and the reference page follow from it;
 * the Envoy half is `render/envoy/attributes.ts`, without whose row the build fails, and the engine's half is
 * `render/decide/attributes.ts`, likewise.
 */

/** How a value is written. */
export type ValueGrammar = "string" | "path" | "ip" | "port" | "service-account" | "trust-domain";

export interface AttributeRow {
  /** The field of `from[].source`; its negative is `not` with a capital: `notPrincipals`. */
  readonly source?: string;
  /** The field of `to[].operation`. */
  readonly operation?: string;
  /** The key of `when`; `[…]` takes an argument. */
  readonly when?: string;
  /** 4: known of any connection. 7: of HTTP requests only. */
  readonly layer: 4 | 7;
  readonly grammar: ValueGrammar;
  /** What stands in the brackets of `when`: a header's name, or the path to a claim, its parts joined by `][`. */
  readonly argument?: "header" | "claim";
  /** It needs a peer authenticated by mutual TLS. */
  readonly needsMtls?: true;
  /** It needs a token that a RequestAuthentication verifies. */
  readonly needsToken?: true;
  readonly examples: readonly [string, ...string[]];
  readonly doc: string;
}

export const ATTRIBUTES = {
  principal: {
    source: "principals",
    when: "source.principal",
    layer: 4,
    grammar: "string",
    needsMtls: true,
    examples: ["cluster.local/ns/default/sa/sleep", "*/sa/sleep", "*"],
    doc: "the peer's identity, without `spiffe://`",
  },
  namespace: {
    source: "namespaces",
    when: "source.namespace",
    layer: 4,
    grammar: "string",
    needsMtls: true,
    examples: ["default", "prod-*"],
    doc: "the namespace in the peer's identity",
  },
  serviceAccount: {
    source: "serviceAccounts",
    when: "source.serviceAccount",
    layer: 4,
    grammar: "service-account",
    needsMtls: true,
    examples: ["sleep", "default/sleep"],
    doc: "the service account in the peer's identity; without a namespace, the policy's own",
  },
  trustDomain: {
    source: "trustDomains",
    when: "source.trustDomain",
    layer: 4,
    grammar: "trust-domain",
    needsMtls: true,
    examples: ["cluster.local", "*.example.org"],
    doc: "the trust domain in the peer's identity",
  },
  sourceIp: {
    source: "ipBlocks",
    when: "source.ip",
    layer: 4,
    grammar: "ip",
    examples: ["10.1.0.0/16", "192.0.2.7"],
    doc: "the address of the connection's other end, never from a header",
  },
  remoteIp: {
    source: "remoteIpBlocks",
    when: "remote.ip",
    layer: 4,
    grammar: "ip",
    examples: ["203.0.113.0/24"],
    doc: "the original client's address, from X-Forwarded-For as far as trusted proxies wrote it",
  },
  host: {
    operation: "hosts",
    layer: 7,
    grammar: "string",
    examples: ["reviews.prod.svc.cluster.local", "*.example.org"],
    doc: "the request's Host or :authority, with its port if it has one, compared without regard to case",
  },
  method: {
    operation: "methods",
    layer: 7,
    grammar: "string",
    examples: ["GET", "POST"],
    doc: "the request's method, compared with regard to case",
  },
  path: {
    operation: "paths",
    layer: 7,
    grammar: "path",
    examples: ["/accounts/*", "/users/{*}/photos", "/static/{**}"],
    doc: "the request's path after normalization, without query and fragment",
  },
  destinationPort: {
    operation: "ports",
    when: "destination.port",
    layer: 4,
    grammar: "port",
    examples: ["8080"],
    doc: "the workload's port (not the service's)",
  },
  destinationIp: {
    when: "destination.ip",
    layer: 4,
    grammar: "ip",
    examples: ["10.1.2.3"],
    doc: "the workload's address that was connected to",
  },
  sni: {
    when: "connection.sni",
    layer: 4,
    grammar: "string",
    examples: ["www.example.org"],
    doc: "the server name that the client asked for in the TLS handshake, compared without regard to case",
  },
  header: {
    when: "request.headers[…]",
    layer: 7,
    grammar: "string",
    argument: "header",
    examples: ["v1", "Mozilla/*"],
    doc: "a request header; where it comes several times, each value is tried, or for a few standard ones all joined with a comma",
  },
  requestPrincipal: {
    source: "requestPrincipals",
    when: "request.auth.principal",
    layer: 7,
    grammar: "string",
    needsToken: true,
    examples: ["https://accounts.example.org/alice", "https://accounts.example.org/*", "*"],
    doc: "the requester that a token of a RequestAuthentication proves, as `ISSUER/SUBJECT`",
  },
  audience: {
    when: "request.auth.audiences",
    layer: 7,
    grammar: "string",
    needsToken: true,
    examples: ["bookstore.example.org"],
    doc: "the token's `aud`; one of several is enough",
  },
  presenter: {
    when: "request.auth.presenter",
    layer: 7,
    grammar: "string",
    needsToken: true,
    examples: ["123456789012.my-app"],
    doc: "the token's `azp`",
  },
  claim: {
    when: "request.auth.claims[…]",
    layer: 7,
    grammar: "string",
    needsToken: true,
    argument: "claim",
    examples: ["admin", "*@example.org"],
    doc: "a claim of the token, a text or a list of texts; `[a][b]` is `b` inside `a`",
  },
} as const satisfies Record<string, AttributeRow>;

export type AttributeKey = keyof typeof ATTRIBUTES;

/** The row of an attribute. */
export function attributeRow(key: AttributeKey): AttributeRow {
  return ATTRIBUTES[key];
}
