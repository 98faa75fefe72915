/**
 * What rules are told apart by. A dimension reads one text of a request; a clause that can only hold if that text is one of
 * its keys, or begins or ends with one, has keys in it. Keys only choose the rules that are asked: each says what is
 * necessary, never what is enough, so a dimension may be coarse but must not miss.
 */
import type { AttributeKey } from "../../policy/attributes.ts";
import { JOINED_HEADERS, joinLines } from "../../policy/joined-headers.ts";
import type { Clause } from "../../policy/model.ts";
import type { TemplateSegment, ValueMatch } from "../../policy/pattern.ts";
import { claimAt, claimPath, splitRequestPrincipal, textsOf } from "../../policy/requester.ts";
import type { DecisionContext } from "./context.ts";
import { foldCase } from "./matchers.ts";

/** The whole text, or only its beginning (or its end, where the dimension is read from there). */
export interface Key {
  readonly text: string;
  readonly whole: boolean;
}

export interface Dimension {
  readonly name: string;
  /** The side of the text that keys which are not whole are compared with. */
  readonly side: "start" | "end";
  /** Undefined where a request has no such text, so that no clause with keys here holds. Several texts: each may be the one. */
  read(context: DecisionContext): string | readonly string[] | undefined;
}

/** A value's key in a dimension; undefined where the value does not bind that text. */
export interface Coordinate {
  readonly dimension: Dimension;
  keyOf(value: ValueMatch): Key | undefined;
}

type Read = Dimension["read"];

const asIs = (text: string): string => text;

/** `/users/{*}/photos` is `/users/` and more; without a placeholder it is the whole path. */
function templateKey(segments: readonly TemplateSegment[]): Key {
  const open = segments.findIndex(({ kind }) => kind !== "literal");
  const literals = segments.slice(0, open < 0 ? segments.length : open).map((segment) => (segment.kind === "literal" ? segment.value : ""));
  return { text: `/${[...literals, ...(open < 0 ? [] : [""])].join("/")}`, whole: open < 0 };
}

function beginning(name: string, read: Read, fold = asIs): Coordinate {
  return {
    dimension: { name, side: "start", read },
    keyOf(value) {
      if (value.kind === "template") return templateKey(value.segments);
      return value.kind === "exact" || value.kind === "prefix" ? { text: fold(value.value), whole: value.kind === "exact" } : undefined;
    },
  };
}

function ending(name: string, read: Read, fold = asIs): Coordinate {
  return {
    dimension: { name: `end of ${name}`, side: "end", read },
    keyOf: (value) =>
      value.kind === "exact" || value.kind === "suffix" ? { text: fold(value.value), whole: value.kind === "exact" } : undefined,
  };
}

/** A text that values match: told apart by how it begins, and by how it ends. */
function text(name: string, read: Read, fold = asIs): readonly Coordinate[] {
  return [beginning(name, read, fold), ending(name, read, fold)];
}

function wholeKey(text: string | undefined): Key | undefined {
  return text === undefined ? undefined : { text, whole: true };
}

// === The peer: an exact principal also says a namespace and a service account ===

/** The namespace and the account of `TRUST_DOMAIN/ns/NAMESPACE/sa/SERVICE_ACCOUNT`. */
const [NAMESPACE_AT, ACCOUNT_AT] = [2, 4];

/** As `text.split("/")[index]`, without the list. */
function segment(text: string | undefined, index: number): string | undefined {
  if (text === undefined) return undefined;
  let start = 0;
  for (let passed = 0; passed < index; passed++) {
    start = text.indexOf("/", start) + 1;
    if (start === 0) return undefined;
  }
  const end = text.indexOf("/", start);
  return end < 0 ? text.slice(start) : text.slice(start, end);
}

function segmentKey(value: ValueMatch, index: number): Key | undefined {
  return value.kind === "exact" ? wholeKey(segment(value.value, index)) : undefined;
}

const NAMESPACE_TEXT: Read = ({ principal }) => segment(principal, NAMESPACE_AT);
const ACCOUNT_TEXT: Read = ({ principal }) => segment(principal, ACCOUNT_AT);
const NAMESPACE = beginning("namespace", NAMESPACE_TEXT);
const NAMESPACE_END = ending("namespace", NAMESPACE_TEXT);
const ACCOUNT = beginning("service account", ACCOUNT_TEXT);
const PRINCIPAL: readonly Coordinate[] = [
  ...text("principal", (context) => context.principal),
  { dimension: NAMESPACE.dimension, keyOf: (value) => segmentKey(value, NAMESPACE_AT) },
  { dimension: ACCOUNT.dimension, keyOf: (value) => segmentKey(value, ACCOUNT_AT) },
];
const SERVICE_ACCOUNT: readonly Coordinate[] = [
  { dimension: ACCOUNT.dimension, keyOf: (value) => (value.kind === "service-account" ? wholeKey(value.name) : undefined) },
  { dimension: NAMESPACE.dimension, keyOf: (value) => (value.kind === "service-account" ? wholeKey(value.namespace) : undefined) },
];

// === Addresses: the whole bytes of a block's prefix, as characters ===

function addressText(family: 4 | 6, bytes: readonly number[]): string {
  return String.fromCharCode(family, ...bytes);
}

function address(name: "sourceIp" | "remoteIp" | "destinationIp"): readonly Coordinate[] {
  const read: Read = ({ [name]: ip }) => (ip === undefined ? undefined : addressText(ip.family, ip.bytes));
  const keyOf = (value: ValueMatch): Key | undefined => {
    if (value.kind !== "ip") return undefined;
    const { family, bytes, prefix } = value.block;
    return { text: addressText(family, bytes.slice(0, prefix >> 3)), whole: false };
  };
  return [{ dimension: { name, side: "start", read }, keyOf }];
}

// === What a request may show several of ===

function header(argument: string): readonly Coordinate[] {
  const name = argument.toLowerCase();
  const read: Read = ({ facts }) => {
    const lines = facts.http?.headers.get(name);
    return lines !== undefined && JOINED_HEADERS.has(name) ? joinLines(lines) : lines;
  };
  return text(`header ${name}`, read);
}

function claim(argument: string): readonly Coordinate[] {
  const path = claimPath(argument);
  return text(`claim ${argument}`, ({ facts: { requester } }) => requester && textsOf(claimAt(requester, path)));
}

const REQUEST_PRINCIPAL: Coordinate = {
  dimension: {
    name: "request principal",
    side: "start",
    read: ({ facts: { requester } }) => {
      const { iss, sub } = requester?.claims ?? {};
      return typeof iss === "string" && typeof sub === "string" ? `${iss}/${sub}` : undefined;
    },
  },
  keyOf(value) {
    if (value.kind !== "exact") return undefined;
    const { issuer, subject } = splitRequestPrincipal(value);
    return issuer.kind === "exact" && subject.kind === "exact" ? wholeKey(`${issuer.value}/${subject.value}`) : undefined;
  },
};

// === The table ===

const AUDIENCE = claim("aud");
const PRESENTER = claim("azp");
const PORT: Coordinate = {
  dimension: { name: "destination port", side: "start", read: ({ facts }) => String(facts.destinationPort) },
  keyOf: (value) => (value.kind === "port" ? wholeKey(String(value.port)) : undefined),
};

const SOURCE_IP = address("sourceIp");
const REMOTE_IP = address("remoteIp");
const DESTINATION_IP = address("destinationIp");
const HOST = text("host", (context) => context.host, foldCase);
const METHOD = text("method", ({ facts }) => facts.http?.method);
const PATH = text("path", ({ facts }) => facts.http?.path);
const SNI = text("sni", (context) => context.sni, foldCase);

/** An attribute without a row tells nothing apart: its rules are always asked. */
const COORDINATES: Partial<Record<AttributeKey, (argument: string) => readonly Coordinate[]>> = {
  principal: () => PRINCIPAL,
  namespace: () => [NAMESPACE, NAMESPACE_END],
  serviceAccount: () => SERVICE_ACCOUNT,
  sourceIp: () => SOURCE_IP,
  remoteIp: () => REMOTE_IP,
  host: () => HOST,
  method: () => METHOD,
  path: () => PATH,
  destinationPort: () => [PORT],
  destinationIp: () => DESTINATION_IP,
  sni: () => SNI,
  header,
  requestPrincipal: () => [REQUEST_PRINCIPAL],
  audience: () => AUDIENCE,
  presenter: () => PRESENTER,
  claim,
};

/** Where a clause has keys; a negated one has none. */
export function coordinatesOf(clause: Clause): readonly Coordinate[] {
  return clause.negated ? [] : (COORDINATES[clause.attribute]?.(clause.argument) ?? []);
}
