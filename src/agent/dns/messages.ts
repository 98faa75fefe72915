/** DNS messages (RFC 1035): what is read of a question, and what it is answered with. */
import {
  type Answer,
  AUTHORITATIVE_ANSWER,
  type DecodedPacket,
  decode,
  encode,
  RECURSION_AVAILABLE,
  RECURSION_DESIRED,
  TRUNCATED_RESPONSE,
} from "dns-packet";

/** RCODEs. */
export const RCODE = { ok: 0, formatError: 1, serverFailure: 2, noSuchName: 3, notImplemented: 4, refused: 5 } as const;

const HEADER_BYTES = 12;
const RESPONSE = 0x8000;
const OPCODE = 0x7800;
const RCODE_BITS = 0x000f;
/** Of a server's answers; short, since services come and go (Istio's). */
const TTL_SECONDS = 30;
/** Without EDNS (RFC 1035 §4.2.1), and the most that is sent with it: more may be fragmented (RFC 9715). */
const LEAST_UDP_BYTES = 512;
const MOST_UDP_BYTES = 1232;
const MOST_TCP_BYTES = 65_535;

/** One question, as whole messages of one come. */
export interface Query {
  readonly packet: DecodedPacket;
  /** As it came. */
  readonly bytes: Buffer;
  /** Of the question section, which begins after the header. */
  readonly questionBytes: Buffer;
  /** In lower case, without a dot at its end; empty for a name that no name of the mesh can be. */
  readonly name: string;
  /** The longest answer that may be sent. */
  readonly mostBytes: number;
}

export type ReadQuery =
  | { readonly kind: "query"; readonly query: Query }
  | { readonly kind: "refused"; readonly answer: Buffer }
  /** Nothing that anybody waits for an answer to. */
  | { readonly kind: "nothing" };

/** Where the question section of one question ends; undefined where there is none. */
function questionEnd(bytes: Buffer): number | undefined {
  let at = HEADER_BYTES;
  for (;;) {
    const length = bytes[at];
    // No pointers: there is nothing before the first name that one could lead to.
    if (length === undefined || length > 63) return undefined;
    at += length + 1;
    if (length === 0) return at + 4 <= bytes.length ? at + 4 : undefined;
  }
}

/** Labels that say what they seem to: no dots or other bytes within. */
const PLAIN_NAME = /^[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63}){0,126}$/;

/** The name as text, if every byte of it is what the text says. */
function plainName(packet: DecodedPacket, section: Buffer): string {
  const name = (packet.questions?.[0]?.name ?? "").toLowerCase();
  // A label with a dot inside reads like two: then the text has as many bytes, but the lengths stand elsewhere.
  const labels = name.split(".").flatMap((label) => [String.fromCharCode(label.length), label]);
  const same = section.subarray(0, -5).toString("latin1").toLowerCase() === labels.join("");
  return same && PLAIN_NAME.test(name) ? name : "";
}

function bareAnswer(bytes: Buffer, rcode: number): Buffer {
  const answer = Buffer.alloc(HEADER_BYTES);
  bytes.copy(answer, 0, 0, 2);
  answer.writeUInt16BE(RESPONSE | (bytes.readUInt16BE(2) & (OPCODE | RECURSION_DESIRED)) | RECURSION_AVAILABLE | rcode, 2);
  return answer;
}

function mostBytes({ additionals = [] }: DecodedPacket, transport: "udp" | "tcp"): number {
  if (transport === "tcp") return MOST_TCP_BYTES;
  const edns = additionals.find((each) => each.type === "OPT");
  const offered = edns?.type === "OPT" ? edns.udpPayloadSize : LEAST_UDP_BYTES;
  return Math.max(LEAST_UDP_BYTES, Math.min(offered, MOST_UDP_BYTES));
}

function decoded(bytes: Buffer): DecodedPacket | undefined {
  try {
    return decode(bytes);
  } catch {
    return undefined;
  }
}

/** A message that came from a client. */
export function readQuery(bytes: Buffer, transport: "udp" | "tcp"): ReadQuery {
  if (bytes.length < HEADER_BYTES || (bytes.readUInt16BE(2) & RESPONSE) !== 0) return { kind: "nothing" };
  if ((bytes.readUInt16BE(2) & OPCODE) !== 0) return { kind: "refused", answer: bareAnswer(bytes, RCODE.notImplemented) };
  const end = bytes.readUInt16BE(4) === 1 ? questionEnd(bytes) : undefined;
  const packet = end === undefined ? undefined : decoded(bytes);
  if (packet === undefined || end === undefined) return { kind: "refused", answer: bareAnswer(bytes, RCODE.formatError) };
  if (packet.questions?.[0]?.class !== "IN") return { kind: "refused", answer: bareAnswer(bytes, RCODE.refused) };
  const questionBytes = bytes.subarray(HEADER_BYTES, end);
  const query = { packet, bytes, questionBytes, name: plainName(packet, questionBytes), mostBytes: mostBytes(packet, transport) };
  return { kind: "query", query };
}

// === Answers ===

function encoded({ packet }: Query, flags: number, answers: Answer[]): Buffer {
  const { id, flag_rd: desired, questions, additionals = [] } = packet;
  const edns = additionals.some(({ type }) => type === "OPT");
  return encode({
    type: "response",
    id: id ?? 0,
    flags: RECURSION_AVAILABLE | (desired ? RECURSION_DESIRED : 0) | flags,
    questions: questions ?? [],
    answers,
    // RFC 6891 §6.1.1: whoever asks so is answered so.
    additionals: edns
      ? [
          {
            type: "OPT",
            name: ".",
            udpPayloadSize: MOST_UDP_BYTES,
            extendedRcode: 0,
            ednsVersion: 0,
            flags: 0,
            flag_do: false,
            options: [],
          },
        ]
      : [],
  });
}

/** An answer without records. */
export function failure({ bytes, questionBytes }: Query, rcode: number): Buffer {
  const header = bareAnswer(bytes, rcode | (rcode === RCODE.noSuchName ? AUTHORITATIVE_ANSWER : 0));
  header.writeUInt16BE(1, 4);
  return Buffer.concat([header, questionBytes]);
}

/**
 * A name's addresses of the family that is asked for: of the other, or of what is no address, the name exists and has none. What does
 * not fit is left out and said to be: the client then comes by TCP.
 */
export function addressAnswer(query: Query, addresses: readonly string[]): Buffer {
  const [question] = query.packet.questions ?? [];
  const type = question?.type;
  if (question === undefined || (type !== "A" && type !== "AAAA")) return encoded(query, AUTHORITATIVE_ANSWER, []);
  const answers: Answer[] = addresses
    .filter((address) => address.includes(":") === (type === "AAAA"))
    .map((data) => ({ type, class: "IN", name: question.name, ttl: TTL_SECONDS, data }));
  const all = encoded(query, AUTHORITATIVE_ANSWER, answers);
  if (all.length <= query.mostBytes) return all;
  const empty = encoded(query, AUTHORITATIVE_ANSWER, []).length;
  const fitting = Math.floor((query.mostBytes - empty) / ((all.length - empty) / answers.length));
  return encoded(query, AUTHORITATIVE_ANSWER | TRUNCATED_RESPONSE, answers.slice(0, Math.max(0, fitting)));
}

/** A copy of a message with another id. */
export function withId(bytes: Buffer, id: number): Buffer {
  const copy = Buffer.from(bytes);
  copy.writeUInt16BE(id, 0);
  return copy;
}

const UPPER_CASE = /[A-Z]/g;
const TYPE_AND_CLASS_BYTES = 4;

/** The letters of names alone have no case. */
function sameQuestion(left: Buffer, right: Buffer): boolean {
  const nameOf = (section: Buffer) =>
    section
      .subarray(0, -TYPE_AND_CLASS_BYTES)
      .toString("latin1")
      .replace(UPPER_CASE, (letter) => letter.toLowerCase());
  return nameOf(left) === nameOf(right) && left.subarray(-TYPE_AND_CLASS_BYTES).equals(right.subarray(-TYPE_AND_CLASS_BYTES));
}

/** Whether a message answers just this question, asked with this id. */
export function isAnswerTo(query: Query, id: number, bytes: Buffer): boolean {
  const { questionBytes } = query;
  if (bytes.length < HEADER_BYTES + questionBytes.length || bytes.readUInt16BE(0) !== id) return false;
  const flags = bytes.readUInt16BE(2);
  if ((flags & RESPONSE) === 0 || (flags & OPCODE) !== 0 || bytes.readUInt16BE(4) !== 1) return false;
  return sameQuestion(bytes.subarray(HEADER_BYTES, HEADER_BYTES + questionBytes.length), questionBytes);
}

export function rcodeOf(answer: Buffer): number {
  return answer.readUInt16BE(2) & RCODE_BITS;
}
