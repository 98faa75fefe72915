import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { type Answer, type DecodedPacket, decode as decodePacket, encode, type RecordType } from "dns-packet";
import fc from "fast-check";
import { addressAnswer, failure, isAnswerTo, type Query, RCODE, rcodeOf, readQuery, withId } from "./messages.ts";

/** The library's types forget the code. */
const decode: (bytes: Buffer) => DecodedPacket & { readonly rcode?: string } = decodePacket;

interface Asking {
  readonly type?: RecordType;
  readonly udpPayloadSize?: number;
}

function asked(name: string, { type = "A", udpPayloadSize }: Asking = {}): Buffer {
  const edns = {
    type: "OPT" as const,
    name: ".",
    extendedRcode: 0,
    ednsVersion: 0,
    flags: 0,
    flag_do: false,
    options: [],
  } satisfies Partial<Answer>;
  const additionals: Answer[] = udpPayloadSize === undefined ? [] : [{ ...edns, udpPayloadSize }];
  return encode({ type: "query", id: 0x1234, flags: 0x0100, questions: [{ type, name, class: "IN" }], additionals });
}

function query(bytes: Buffer, transport: "udp" | "tcp" = "udp"): Query {
  const read = readQuery(bytes, transport);
  assert.equal(read.kind, "query");
  return (read as Extract<typeof read, { readonly kind: "query" }>).query;
}

/** The question of labels as they are, dots within them and all. */
function ofLabels(...labels: readonly string[]): Buffer {
  const header = asked("x").subarray(0, 12);
  const name = labels.flatMap((label) => [Buffer.of(label.length), Buffer.from(label, "latin1")]);
  return Buffer.concat([header, ...name, Buffer.of(0, 0, 1, 0, 1)]);
}

describe("a question of DNS", () => {
  it("is of a name in lower case", () => {
    assert.equal(query(asked("Cart.SHOP.svc")).name, "cart.shop.svc");
    assert.equal(query(asked("_redis._tcp.cart.shop")).name, "_redis._tcp.cart.shop");
  });

  it("is of no name of the mesh where its bytes are not what its text seems to be", () => {
    for (const labels of [["cart.shop"], ["ca rt", "shop"], ["c\u00e4rt"], ["cart\0"], []])
      assert.equal(query(ofLabels(...labels)).name, "");
    assert.equal(query(ofLabels("cart", "shop")).name, "cart.shop");
  });

  it("is nothing where it is an answer, or too short for either", () => {
    for (const bytes of [Buffer.alloc(0), Buffer.alloc(11), encode({ type: "response", id: 1, questions: [{ type: "A", name: "a" }] })])
      assert.equal(readQuery(bytes, "udp").kind, "nothing");
  });

  it("is refused where it is another operation, several questions, of another class, or broken", () => {
    const withByte = (at: number, value: number): Buffer => {
      const bytes = asked("cart.shop");
      bytes[at] = value;
      return bytes;
    };
    const rcodes = [withByte(2, 0x28), withByte(5, 2), withByte(5, 0), withByte(12, 0xc0), asked("cart.shop").subarray(0, 20)].map(
      (bytes) => {
        const read = readQuery(bytes, "udp");
        assert.equal(read.kind, "refused");
        const { answer } = read as Extract<typeof read, { readonly kind: "refused" }>;
        assert.equal(answer.readUInt16BE(0), 0x1234);
        return rcodeOf(answer);
      },
    );
    assert.deepEqual(rcodes, [RCODE.notImplemented, RCODE.formatError, RCODE.formatError, RCODE.formatError, RCODE.formatError]);
    const chaos = encode({ type: "query", id: 1, questions: [{ type: "TXT", name: "version.bind", class: "CH" }] });
    const read = readQuery(chaos, "udp");
    assert.equal(read.kind === "refused" && rcodeOf(read.answer), RCODE.refused);
  });

  it("is never more than a message, whatever comes", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 80 }), (bytes) => {
        assert.ok(["query", "refused", "nothing"].includes(readQuery(Buffer.from(bytes), "udp").kind));
      }),
    );
  });
});

describe("the answer to it", () => {
  it("has the addresses of the family, as its own, for half a minute, with the name as it was written", () => {
    const { id, flag_aa, flag_ra, flag_rd, flag_tc, rcode, questions, answers } = decode(
      addressAnswer(query(asked("Cart.shop")), ["10.96.0.1", "fd00::1"]),
    );
    assert.deepEqual([id, flag_aa, flag_ra, flag_rd, flag_tc, rcode], [0x1234, true, true, true, false, "NOERROR"]);
    assert.deepEqual(questions, [{ name: "Cart.shop", type: "A", class: "IN" }]);
    assert.deepEqual(
      answers?.map((each) => each.type === "A" && [each.name, each.ttl, each.data]),
      [["Cart.shop", 30, "10.96.0.1"]],
    );
    const six = decode(addressAnswer(query(asked("cart", { type: "AAAA" })), ["10.96.0.1", "fd00::1"]));
    assert.deepEqual(
      six.answers?.map((each) => each.type === "AAAA" && each.data),
      ["fd00::1"],
    );
  });

  it("has none for another family or another type of record, and says that the name is there", () => {
    for (const type of ["AAAA", "TXT", "SRV", "MX"] as const) {
      const { rcode, answers } = decode(addressAnswer(query(asked("cart", { type })), ["10.96.0.1"]));
      assert.deepEqual([rcode, answers], ["NOERROR", []]);
    }
    // HTTPS records name addresses too.
    const https = Buffer.from(asked("cart"));
    https.writeUInt16BE(65, https.length - 4);
    assert.equal(addressAnswer(query(https), ["10.96.0.1"]).readUInt16BE(6), 0);
  });

  it("says that it is cut off where it is too long for UDP, and is whole over TCP", () => {
    const many = Array.from({ length: 400 }, (_, index) => `10.0.${index >> 8}.${index & 255}`);
    const name = "pods.shop.svc.cluster.local";
    for (const [udpPayloadSize, most] of [
      [undefined, 512],
      [100, 512],
      [1_000, 1_000],
      [65_000, 1_232],
    ] as const) {
      const bytes = addressAnswer(query(asked(name, udpPayloadSize === undefined ? {} : { udpPayloadSize })), many);
      const { flag_tc, answers = [], additionals = [] } = decode(bytes);
      assert.ok(bytes.length <= most && bytes.length > most - 60, `${bytes.length} of ${most}`);
      assert.ok(flag_tc && answers.length > 0);
      assert.equal(additionals.length, udpPayloadSize === undefined ? 0 : 1);
    }
    const whole = decode(addressAnswer(query(asked(name), "tcp"), many));
    assert.deepEqual([whole.flag_tc, whole.answers?.length], [false, 400]);
  });

  it("is the question again where it fails", () => {
    const bytes = failure(query(asked("Missing.shop")), RCODE.noSuchName);
    const { id, rcode, questions } = decode(bytes);
    assert.deepEqual([id, rcode, questions?.[0]?.name], [0x1234, "NXDOMAIN", "Missing.shop"]);
  });
});

describe("an answer from elsewhere", () => {
  const ours = query(asked("www.example.com"));
  const reply = (name: string, type: RecordType = "A", more: object = {}): Buffer =>
    encode({ type: "response", id: 7, questions: [{ type, name, class: "IN" }], answers: [], ...more });

  it("is taken where it is to just the question, with the id that it was asked by", () => {
    assert.ok(isAnswerTo(ours, 7, reply("www.example.com")));
    assert.ok(isAnswerTo(ours, 7, reply("WWW.Example.com")));
    assert.equal(withId(reply("www.example.com"), 0xabcd).readUInt16BE(0), 0xabcd);
  });

  it("is not taken for any other", () => {
    for (const bytes of [
      reply("www.example.org"),
      reply("www.example.com", "AAAA"),
      reply("www.example.com", "A", { id: 8 }),
      reply("www.example.com", "A", { type: "query" }),
      encode({ type: "response", id: 7, questions: [] }),
      reply("www.example.com").subarray(0, 20),
      Buffer.alloc(0),
    ])
      assert.ok(!isAnswerTo(ours, 7, bytes));
    // Types and classes are no letters: 65 is not 97.
    const [https, other] = [65, 97].map((type) => {
      const bytes = Buffer.from(asked("www.example.com"));
      bytes.writeUInt16BE(type, bytes.length - 4);
      return bytes;
    });
    const answer = Buffer.from(other ?? "");
    answer.writeUInt16BE(0x8000, 2);
    assert.ok(!isAnswerTo(query(https ?? Buffer.alloc(0)), 0x1234, answer));
  });
});
