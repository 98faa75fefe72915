/**
 * Random workloads with policies and requests, in the form of corpus files. Everything is drawn from a few texts, so that
 * values and requests often meet, and just as often miss by one character, one bit or one slash.
 */
import fc, { type Arbitrary } from "fast-check";

/** An object of a YAML document. */
export type Plain = Readonly<Record<string, unknown>>;

/** One workload with all that concerns it, and what it is asked. */
export interface World {
  readonly objects: readonly Plain[];
  /** Requests of test cases. */
  readonly requests: readonly Plain[];
}

const NAMESPACE = "shop";
export const WORKLOAD = `${NAMESPACE}/web`;
const PORTS = { http: 28_080, http2: 28_082, tcp: 29_090 } as const;

const WORKLOAD_OBJECTS: readonly Plain[] = [
  {
    apiVersion: "networking.istio.io/v1",
    kind: "WorkloadEntry",
    metadata: { name: "web", namespace: NAMESPACE },
    spec: { address: "127.0.0.1", serviceAccount: "web" },
  },
  {
    apiVersion: "networking.istio.io/v1",
    kind: "Sidecar",
    metadata: { name: "web", namespace: NAMESPACE },
    spec: {
      ingress: Object.entries(PORTS).map(([name, number]) => ({
        port: { number, name, protocol: name.toUpperCase() },
        defaultEndpoint: "127.0.0.1:18080",
      })),
    },
  },
];

// === Values ===

const one = <T>(...items: readonly T[]): Arbitrary<T> => fc.constantFrom(...items);
const concat = (parts: Arbitrary<string>, maxLength: number): Arbitrary<string> =>
  fc.array(parts, { minLength: 1, maxLength }).map((texts) => texts.join(""));

/** A text as a value: whole, cut off for a prefix or suffix, or with a character that means something to expressions. */
function patternOf(texts: Arbitrary<string>): Arbitrary<string> {
  const whole = texts.filter((text) => text !== "");
  const cut = fc.tuple(whole, fc.double({ min: 0, max: 1, noNaN: true })).map(([text, at]) => ({ text, at: Math.floor(at * text.length) }));
  return fc.oneof(
    { weight: 4, arbitrary: whole },
    { weight: 3, arbitrary: cut.map(({ text, at }) => `${text.slice(0, at)}*`) },
    { weight: 3, arbitrary: cut.map(({ text, at }) => `*${text.slice(at)}`) },
    { weight: 1, arbitrary: one("*", "**", ".*", "*.*") },
    {
      weight: 2,
      arbitrary: fc
        .tuple(cut, one(..."*.[]|()\\$^+?{}Aé"))
        .map(([{ text, at }, character]) => text.slice(0, at) + character + text.slice(at + 1)),
    },
    { weight: 1, arbitrary: whole.map((text) => text.toUpperCase()) },
  );
}

const values = (value: Arbitrary<string>): Arbitrary<readonly string[]> => fc.array(value, { minLength: 1, maxLength: 3 });

const namespace = one("a", "ab", "a.b", "b", "shop");
const account = one("x", "xy", "x.y", "a");
const principal = fc.tuple(namespace, account).map(([ns, sa]) => `cluster.local/ns/${ns}/sa/${sa}`);
const address = one("127.0.0.1", "127.1.0.0", "127.1.0.1", "127.1.0.2", "127.1.0.3", "127.1.0.4", "127.1.255.255", "127.2.0.0");
const block = fc.oneof(
  address,
  fc.tuple(address, one(0, 1, 8, 14, 15, 16, 17, 23, 24, 29, 30, 31, 32)).map(([text, prefix]) => `${text}/${prefix}`),
  one("::/0", "::1", "::ffff:127.1.0.1", "2001:db8::/32"),
);
const host = one("a.b", "A.B", "a.b:80", "ab", "x.a.b", "a.b.", "web", "a+b", "[::1]");
const knownMethod = one("GET", "PUT", "HEAD", "POST", "PATCH", "OPTIONS");
const anyMethod = fc.oneof(knownMethod, one("get", "GETS", "G", "P.T", "X-Y"));
const headerName = one("x-a", "X-A", "x-b", "user-agent", "origin", "accept-language", "x_a");
const headerValue = one("", "a", "ab", "b", "A", "a,b", "a, b", "a b", "é", "a.b", "(a)");
const serverName = one("a.b", "A.b", "x.a.b", "ab", "outbound_.80_._.a.b");

const cleanPart = one("/", "/a", "/b", "/ab", "/A", "a", "b", "//", ".", "-", "~", "/*", "[", "(", "%2F", "%61", "%7C", ";x=1");
const dirtyPart = one(
  "/",
  "/a",
  "/b",
  "/ab",
  "/A",
  "a",
  "//",
  "/.",
  "/..",
  "\\",
  "%2F",
  "%2f",
  "%5C",
  "%61",
  "%41",
  "%2e",
  "%2E%2e",
  ";x=1",
);
const oddPart = one("?q=1", "#f", "|", "[", "*", "%", "%zz", "%25", "%00", "/..;x", "{", "~", "%7e", "+", "$", "(", ")");
const cleanPath = concat(cleanPart, 4).map((text) => (text.startsWith("/") ? text : `/${text}`));
/** No bytes that Envoy refuses in HTTP/2: each costs a second until it closes the connection. */
const sentPath = concat(fc.oneof({ weight: 5, arbitrary: dirtyPart }, { weight: 1, arbitrary: oddPart }), 6).map((text) =>
  text.startsWith("/") ? text : `/${text}`,
);
const template = fc
  .tuple(fc.array(one("a", "b", "{*}", "A", "a.b"), { maxLength: 3 }), one("", "/{**}", "/{**}/a", "/{**}/"))
  .map(([segments, rest]) => (segments.length === 0 ? rest : `/${segments.join("/")}${rest}`))
  .filter((text) => text.includes("{"));
const pathValue = fc.oneof(
  { weight: 3, arbitrary: patternOf(cleanPath).filter((text) => !/[{}]/.test(text)) },
  { weight: 1, arbitrary: template },
);
const portValue = one("28080", "28082", "29090", "0", "65535", "80");

// === Rules ===

/** Some of these fields or of their negatives, at least one. */
function someFields(fields: Readonly<Record<string, Arbitrary<readonly string[]>>>): Arbitrary<Plain> {
  const both = Object.entries(fields).flatMap(([name, arbitrary]) => [
    [name, arbitrary] as const,
    [`not${name.slice(0, 1).toUpperCase()}${name.slice(1)}`, arbitrary] as const,
  ]);
  const field = fc.nat({ max: both.length - 1 }).chain((index) => {
    const [name, arbitrary] = both[index] ?? ["", fc.constant([])];
    return arbitrary.map((content) => [name, content] as const);
  });
  return fc.array(field, { minLength: 1, maxLength: 3 }).map(Object.fromEntries);
}

const addresses = { ipBlocks: values(block), remoteIpBlocks: values(block) };
const domains = { trustDomains: values(one("cluster.local", "cluster.*", "*.local", "*", "other", "*xlocal", "cluster.loca*")) };
/** Inner stars of namespaces are not supported, and would make the whole policy invalid. */
const namespaceValue = patternOf(namespace).filter((text) => text === "*" || (!text.slice(1, -1).includes("*") && !/^\*.*\*$/.test(text)));
const source = fc.oneof(
  {
    weight: 3,
    arbitrary: someFields({ principals: values(patternOf(principal)), namespaces: values(namespaceValue), ...domains, ...addresses }),
  },
  {
    weight: 1,
    arbitrary: someFields({
      serviceAccounts: values(
        fc.oneof(
          account,
          fc.tuple(namespace, account).map((parts) => parts.join("/")),
        ),
      ),
      ...domains,
      ...addresses,
    }),
  },
);
const operation = someFields({
  hosts: values(patternOf(host)),
  methods: values(patternOf(anyMethod)),
  paths: values(pathValue),
  ports: values(portValue),
});

function condition(key: Arbitrary<string>, value: Arbitrary<string>): Arbitrary<Plain> {
  const either = fc
    .record({ values: values(value), notValues: values(value) }, { requiredKeys: [] })
    .filter((fields) => Object.keys(fields).length > 0);
  return fc.tuple(key, either).map(([text, fields]) => ({ key: text, ...fields }));
}

const when = fc.oneof(
  {
    weight: 4,
    arbitrary: condition(
      fc.oneof(headerName, one("host", "cookie")).map((name) => `request.headers[${name}]`),
      patternOf(fc.oneof(headerValue, host)),
    ),
  },
  { weight: 2, arbitrary: condition(one("connection.sni"), patternOf(serverName)) },
  { weight: 1, arbitrary: condition(one("source.ip", "remote.ip"), block) },
  { weight: 1, arbitrary: condition(one("destination.ip"), one("127.0.0.0/8", "127.128.0.0/9", "10.0.0.0/8", "::/0")) },
  { weight: 1, arbitrary: condition(one("destination.port"), portValue) },
  { weight: 1, arbitrary: condition(one("source.principal"), patternOf(principal)) },
  { weight: 1, arbitrary: condition(one("source.namespace"), namespaceValue) },
);

const upTo = <T>(maxLength: number, item: Arbitrary<T>): Arbitrary<readonly T[]> => fc.array(item, { minLength: 1, maxLength });
const rule: Arbitrary<Plain> = fc.record(
  {
    from: upTo(
      2,
      source.map((fields) => ({ source: fields })),
    ),
    to: upTo(
      2,
      operation.map((fields) => ({ operation: fields })),
    ),
    when: upTo(2, when),
  },
  { requiredKeys: [] },
);

function policy(name: string): Arbitrary<Plain> {
  return fc
    .record({ root: fc.boolean(), action: one("ALLOW", "DENY", "ALLOW", "DENY", "AUDIT"), rules: upTo(3, rule) })
    .map(({ root, action, rules }) => ({
      apiVersion: "security.istio.io/v1",
      kind: "AuthorizationPolicy",
      metadata: { name, namespace: root ? "istio-system" : NAMESPACE },
      spec: { action, rules },
    }));
}

const peerAuthentication: Arbitrary<readonly Plain[]> = one("PERMISSIVE", "PERMISSIVE", "PERMISSIVE", "STRICT", "DISABLE").map((mode) =>
  mode === "PERMISSIVE"
    ? []
    : [
        {
          apiVersion: "security.istio.io/v1",
          kind: "PeerAuthentication",
          metadata: { name: "default", namespace: NAMESPACE },
          spec: { mtls: { mode } },
        },
      ],
);

/** Names whose order as text is not that of the list. */
const policies = fc.subarray(["b", "a-b", "a", "a.b"], { minLength: 1 }).chain((names) => fc.tuple(...names.map(policy)));

// === Requests ===

const caller = fc.oneof({ weight: 1, arbitrary: one("plaintext") }, { weight: 3, arbitrary: principal.map((name) => `spiffe://${name}`) });
const headers = fc.dictionary(
  headerName.map((name) => name.toLowerCase()),
  fc.oneof(headerValue, fc.array(headerValue, { minLength: 1, maxLength: 3 })),
  { maxKeys: 2 },
);
const optional = <T>(arbitrary: Arbitrary<T>): Arbitrary<T | undefined> => fc.option(arbitrary, { nil: undefined });

const drawnRequest = fc.record({
  from: caller,
  protocol: one<keyof typeof PORTS>("http", "http", "http2", "tcp"),
  sourceIp: optional(address),
  sni: optional(serverName),
  known: optional(knownMethod),
  any: optional(anyMethod),
  path: optional(fc.oneof(sentPath, cleanPath)),
  host: optional(host),
  headers: optional(headers),
});

/** HTTP/1.1 takes known methods only; plaintext has no server name; TCP has no request. */
const request: Arbitrary<Plain> = drawnRequest.map(({ from, protocol, sourceIp, sni, known, any, path, host: asked, headers: sent }) => {
  const connection = { from, port: PORTS[protocol], sourceIp, sni: from === "plaintext" ? undefined : sni };
  const http = { method: protocol === "http2" ? any : known, path, host: asked, headers: sent };
  const fields = Object.entries(protocol === "tcp" ? connection : { ...connection, ...http });
  return Object.fromEntries(fields.filter(([, value]) => value !== undefined));
});

export const world: Arbitrary<World> = fc
  .tuple(peerAuthentication, policies, fc.array(request, { minLength: 1, maxLength: 40, size: "max" }))
  .map(([authentication, authorization, requests]) => ({ objects: [...WORKLOAD_OBJECTS, ...authentication, ...authorization], requests }));
