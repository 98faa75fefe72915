/** Random policies, as the objects of YAML documents. Most rules have one clause, so that what comes of it decides. */
import fc, { type Arbitrary } from "fast-check";
import {
  ACCOUNTS,
  BLOCKS,
  CLEAN_PATHS,
  HEADER_NAMES,
  HEADER_VALUES,
  HOSTS,
  METHODS,
  NAMESPACES,
  one,
  PORT_VALUES,
  PRINCIPALS,
  patternOf,
  SERVER_NAMES,
  TEMPLATES,
} from "./corpus-words.ts";

/** An object of a YAML document. */
export type Plain = Readonly<Record<string, unknown>>;

function few<T>(item: Arbitrary<T>): Arbitrary<readonly T[]> {
  const several = fc.array(item, { minLength: 2, maxLength: 3 });
  return fc.oneof({ weight: 3, arbitrary: item.map((only) => [only]) }, { weight: 1, arbitrary: several });
}

// === Fields ===

type FieldValues = Readonly<Record<string, Arbitrary<string>>>;

/** Some of these fields or of their negatives. */
function someFields(fields: FieldValues): Arbitrary<Plain> {
  const named = Object.entries(fields).flatMap(([name, value]) => {
    const negative = `not${name.slice(0, 1).toUpperCase()}${name.slice(1)}`;
    return [name, name, negative].map((field) => few(value).map((values) => [field, values] as const));
  });
  return few(fc.oneof(...named)).map(Object.fromEntries);
}

/** A star that is not at one end is not supported in a namespace, and would make the whole policy invalid. */
const NAMESPACE_VALUES = patternOf(NAMESPACES).filter((text) => text === "*" || /^\*?[^*]*$|^[^*]*\*$/.test(text));
const TRUST_DOMAIN_VALUES = one("cluster.local", "cluster.*", "*.local", "*", "other", "*xlocal", "cluster.loca*");
const ACCOUNT_VALUES = fc.oneof(
  ACCOUNTS,
  fc.tuple(NAMESPACES, ACCOUNTS).map((parts) => parts.join("/")),
);
const PATH_VALUES = fc.oneof(
  { weight: 2, arbitrary: patternOf(CLEAN_PATHS).filter((text) => !/[{}]/.test(text)) },
  { weight: 1, arbitrary: TEMPLATES },
);

const ANY_SOURCE = { trustDomains: TRUST_DOMAIN_VALUES, ipBlocks: BLOCKS, remoteIpBlocks: BLOCKS };
/** Service accounts do not stand beside principals and namespaces. */
const source = fc.oneof(
  { weight: 3, arbitrary: someFields({ principals: patternOf(PRINCIPALS), namespaces: NAMESPACE_VALUES, ...ANY_SOURCE }) },
  { weight: 1, arbitrary: someFields({ serviceAccounts: ACCOUNT_VALUES, ...ANY_SOURCE }) },
);
const operation = someFields({ hosts: patternOf(HOSTS), methods: patternOf(METHODS), paths: PATH_VALUES, ports: PORT_VALUES });

// === Conditions ===

const CONDITIONS: readonly (readonly [weight: number, key: Arbitrary<string>, value: Arbitrary<string>])[] = [
  [4, HEADER_NAMES.map((name) => `request.headers[${name}]`), patternOf(HEADER_VALUES)],
  [1, one("request.headers[Host]", "request.headers[X-A]"), patternOf(fc.oneof(HEADER_VALUES, HOSTS))],
  [2, one("connection.sni"), patternOf(SERVER_NAMES)],
  [1, one("source.ip", "remote.ip"), BLOCKS],
  [1, one("destination.ip"), one("127.0.0.0/8", "127.128.0.0/9", "10.0.0.0/8", "::/0")],
  [1, one("destination.port"), PORT_VALUES],
  [1, one("source.principal"), patternOf(PRINCIPALS)],
  [1, one("source.namespace"), NAMESPACE_VALUES],
  [1, one("source.serviceAccount"), ACCOUNT_VALUES],
  [1, one("source.trustDomain"), TRUST_DOMAIN_VALUES],
];

const condition = fc.oneof(
  ...CONDITIONS.map(([weight, keys, value]) => {
    const sides = fc.oneof(
      few(value).map((values) => ({ values })),
      few(value).map((notValues) => ({ notValues })),
      fc.record({ values: few(value), notValues: few(value) }),
    );
    return { weight, arbitrary: fc.tuple(keys, sides).map(([key, side]): Plain => ({ key, ...side })) };
  }),
);

// === Objects ===

const from = few(source.map((fields) => ({ source: fields }))).map((list) => ({ from: list }));
const to = few(operation.map((fields) => ({ operation: fields }))).map((list) => ({ to: list }));
const when = few(condition).map((list) => ({ when: list }));
const rule: Arbitrary<Plain> = fc.oneof(
  { weight: 3, arbitrary: from },
  { weight: 4, arbitrary: to },
  { weight: 4, arbitrary: when },
  {
    weight: 4,
    arbitrary: fc
      .tuple(from, to, when)
      .chain((parts) => fc.subarray(parts))
      .map((parts): Plain => Object.assign({}, ...parts)),
  },
);

function policy(name: string, namespace: string): Arbitrary<Plain> {
  return fc
    .record({ root: fc.boolean(), action: one("ALLOW", "DENY", "ALLOW", "DENY", "AUDIT"), rules: few(rule) })
    .map(({ root, action, rules }) => ({
      apiVersion: "security.istio.io/v1",
      kind: "AuthorizationPolicy",
      metadata: { name, namespace: root ? "istio-system" : namespace },
      spec: { action, rules },
    }));
}

/** One to four, of names whose order as text is not that of their making. */
export function policies(namespace: string): Arbitrary<readonly Plain[]> {
  return fc
    .shuffledSubarray(["b", "a-b", "a", "a.b"], { minLength: 1 })
    .chain((names) => fc.tuple(...names.map((name) => policy(name, namespace))));
}

/** Mostly none, so that most requests come as far as the policies. */
export function peerAuthentication(namespace: string): Arbitrary<readonly Plain[]> {
  const strictly = one("STRICT", "DISABLE").map((mode): readonly Plain[] => [
    { apiVersion: "security.istio.io/v1", kind: "PeerAuthentication", metadata: { name: "default", namespace }, spec: { mtls: { mode } } },
  ]);
  return fc.oneof({ weight: 8, arbitrary: fc.constant([]) }, { weight: 1, arbitrary: strictly });
}
