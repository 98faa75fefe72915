import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { AppError } from "../core/error.ts";
import type { HeaderList } from "./message.ts";
import { type ParsedHead, ResponseParser } from "./response-parser.ts";

interface Seen {
  readonly heads: ParsedHead[];
  body: string;
  readonly ends: HeaderList[];
}

function makeParser(method = "GET", webSocket = false): { readonly parser: ResponseParser; readonly seen: Seen } {
  const seen: Seen = { heads: [], body: "", ends: [] };
  const parser = new ResponseParser(
    {
      onHead: (head) => seen.heads.push(head),
      onBody: (chunk) => {
        seen.body += chunk.toString("latin1");
      },
      onMessageEnd: (trailers) => seen.ends.push(trailers),
    },
    4096,
  );
  parser.begin(method, webSocket);
  return { parser, seen };
}

function parse(text: string, method?: string): Seen & { readonly rest: string | undefined; readonly persistent: boolean } {
  const { parser, seen } = makeParser(method);
  const rest = parser.execute(Buffer.from(text, "latin1"))?.toString("latin1");
  return { ...seen, rest, persistent: parser.persistent };
}

const SIZED = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX-A:  b \r\n\r\nhello";
const CHUNKED =
  "HTTP/1.1 200\r\ntransfer-encoding: Chunked\r\n\r\n5;x=y\r\nhello\r\nA\r\n0123456789\r\n0\r\nX-Sum: 1\r\nContent-Length: 3\r\n\r\n";

describe("responses that are well formed", () => {
  test("a sized body ends where it says", () => {
    const { heads, body, ends, rest, persistent } = parse(SIZED);
    assert.deepEqual(heads, [{ status: 200, headers: ["content-length", "5", "x-a", "b"], hasBody: true, chunked: false }]);
    assert.deepEqual([body, ends.length, rest, persistent], ["hello", 1, undefined, true]);
  });
  test("a chunked body is joined, and its trailers are kept but for those that frame messages", () => {
    const { heads, body, ends } = parse(CHUNKED);
    assert.equal(heads[0]?.chunked, true);
    assert.deepEqual([body, ends], ["hello0123456789", [["x-sum", "1"]]]);
  });
  test("bytes that come one at a time mean the same", () => {
    for (const text of [SIZED, CHUNKED]) {
      const { parser, seen } = makeParser();
      for (const char of text) assert.equal(parser.execute(Buffer.from(char, "latin1")), undefined);
      const whole = parse(text);
      assert.deepEqual([seen.heads, seen.body, seen.ends], [whole.heads, whole.body, whole.ends]);
    }
  });
  test("a cut at any place means the same", () => {
    for (let cut = 1; cut < CHUNKED.length; cut++) {
      const { parser, seen } = makeParser();
      parser.execute(Buffer.from(CHUNKED.slice(0, cut), "latin1"));
      parser.execute(Buffer.from(CHUNKED.slice(cut), "latin1"));
      assert.deepEqual([seen.body, seen.ends], ["hello0123456789", [["x-sum", "1"]]], `cut at ${cut}`);
    }
  });
  for (const status of [204, 304]) {
    test(`status ${status} has no body whatever it announces`, () => {
      const { ends, rest } = parse(`HTTP/1.1 ${status} x\r\ncontent-length: 5\r\n\r\n`);
      assert.deepEqual([ends.length, rest], [1, undefined]);
    });
  }
  test("the answer to HEAD has no body whatever it announces", () => {
    const { ends, heads } = parse("HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\n", "HEAD");
    assert.deepEqual([ends.length, heads[0]?.hasBody], [1, false]);
  });
  test("an interim response is passed over", () => {
    const { heads, body } = parse(`HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 x\r\nlink: a\r\n\r\n${SIZED}`);
    assert.deepEqual([heads.map(({ status }) => status), body], [[200], "hello"]);
  });
  test("without a length the body ends with the connection, which is not used again", () => {
    const { parser, seen } = makeParser();
    parser.execute(Buffer.from("HTTP/1.1 200 OK\r\n\r\nhello"));
    assert.equal(seen.ends.length, 0);
    assert.equal(parser.finish(), true);
    assert.deepEqual([seen.body, seen.ends.length, parser.persistent], ["hello", 1, false]);
  });
  test("a connection that ends in the middle of a response is told", () => {
    for (const text of [
      "",
      "HTTP/1.1 200",
      "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhell",
      "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
    ]) {
      const { parser } = makeParser();
      parser.execute(Buffer.from(text));
      assert.equal(parser.finish(), false, text);
    }
  });
  test("an upgrade that was asked for ends HTTP, and what follows is not read", () => {
    const { parser, seen } = makeParser("GET", true);
    const rest = parser.execute(Buffer.from("HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n\x01\x02"));
    assert.deepEqual([seen.heads[0]?.status, parser.upgraded, rest?.toString("latin1")], [101, true, "\x01\x02"]);
  });
  test("`connection: close` and HTTP/1.0 end the connection, `keep-alive` keeps 1.0", () => {
    assert.equal(parse("HTTP/1.1 204 x\r\nconnection: Close\r\n\r\n").persistent, false);
    assert.equal(parse("HTTP/1.0 204 x\r\n\r\n").persistent, false);
    assert.equal(parse("HTTP/1.0 204 x\r\nconnection: keep-alive\r\n\r\n").persistent, true);
  });
});

test("bytes behind a response are handed back and never read as another one", () => {
  const { heads, rest } = parse(`${SIZED}${SIZED}`);
  assert.deepEqual([heads.length, rest], [1, SIZED]);
});

describe("responses that could be read in two ways", () => {
  const head = (fields: string) => `HTTP/1.1 200 OK\r\n${fields}\r\n\r\n`;
  const refused: readonly (readonly [string, string])[] = [
    ["both lengths", head("content-length: 5\r\ntransfer-encoding: chunked")],
    ["two lengths", head("content-length: 5\r\ncontent-length: 6")],
    ["one length twice", head("content-length: 5\r\ncontent-length: 5")],
    ["a length with a sign", head("content-length: +5")],
    ["a length in hex", head("content-length: 0x5")],
    ["a list of lengths", head("content-length: 5, 5")],
    ["a coding other than chunked", head("transfer-encoding: gzip, chunked")],
    ["two codings", head("transfer-encoding: chunked\r\ntransfer-encoding: identity")],
    ["chunks in HTTP/1.0", "HTTP/1.0 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"],
    ["a folded header", head("x-a: b\r\n c")],
    ["a space before the colon", head("content-length : 5")],
    ["no colon", head("x-a")],
    ["an empty name", head(": b")],
    ["a bare line feed in a value", head("x-a: b\nc: d")],
    ["a zero byte in a value", head("x-a: b\0")],
    ["a version that is none", "HTTP/2 200 OK\r\n\r\n"],
    ["a status that is none", "HTTP/1.1 99 x\r\n\r\n"],
    ["no HTTP at all", "hello\r\n\r\n"],
    ["an upgrade that nobody asked for", "HTTP/1.1 101 x\r\n\r\n"],
    ["a chunk longer than it says", `${head("transfer-encoding: chunked")}2\r\nhello\r\n0\r\n\r\n`],
    ["a chunk size with a sign", `${head("transfer-encoding: chunked")}-2\r\n`],
    ["a chunk size with a prefix", `${head("transfer-encoding: chunked")}0x2\r\nhe\r\n`],
    ["a chunk size that is too long", `${head("transfer-encoding: chunked")}fffffffffffff\r\n`],
    ["an endless chunk line", `${head("transfer-encoding: chunked")}2;${"x".repeat(2000)}`],
    ["an endless head", `HTTP/1.1 200 OK\r\nx-a: ${"b".repeat(5000)}`],
    ["an endless trailer", `${head("transfer-encoding: chunked")}0\r\nx-a: ${"b".repeat(5000)}`],
  ];
  for (const [what, text] of refused) {
    test(`${what}: refused`, () => {
      assert.throws(
        () => parse(text),
        (error) => error instanceof AppError && error.code === "unavailable",
      );
    });
  }
});
