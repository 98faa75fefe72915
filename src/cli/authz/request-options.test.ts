import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { describe, it, type TestContext } from "node:test";
import type { TestRequest } from "../../analyze/test-request.ts";
import { type Command, parseCommandLine } from "../command.ts";
import { REQUEST_OPTIONS, requestOf } from "./request-options.ts";

const COMMAND: Command = { name: "try", summary: "", options: REQUEST_OPTIONS, examples: [], run: async () => 0 };

function request(...argv: readonly string[]): TestRequest {
  return requestOf(parseCommandLine(COMMAND, argv));
}

function fileOf(t: TestContext, text: string | Uint8Array): string {
  const folder = mkdtempSync(join(tmpdir(), "garrison-request-"));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const file = join(folder, "request.yaml");
  writeFileSync(file, text);
  return file;
}

/** What a run writes to stderr. */
function withStderr(t: TestContext, run: () => void): string {
  let text = "";
  const mock = t.mock.method(process.stderr, "write", (chunk: unknown) => {
    text += String(chunk);
    return true;
  });
  try {
    run();
  } finally {
    mock.mock.restore();
  }
  return text;
}

describe("a request by flags", () => {
  it("has what every flag says", () => {
    const flags = ["--from", "spiffe://a/ns/b/sa/c", "--method", "PUT", "--path", "/x?y", "--host", "h:80", "--port", "8080", "--sni", "s"];
    assert.deepEqual(
      request(
        ...flags,
        "--source-ip",
        "10.0.0.1",
        "--remote-ip",
        "203.0.113.7",
        "--protocol",
        "http",
        "--header",
        "X-A: 1",
        "--header",
        "x-a:2 ",
      ),
      {
        from: "spiffe://a/ns/b/sa/c",
        method: "PUT",
        path: "/x?y",
        host: "h:80",
        port: 8080,
        sni: "s",
        sourceIp: "10.0.0.1",
        protocol: "http",
        headers: new Map([["x-a", ["1", "2"]]]),
        remoteIp: "203.0.113.7",
        tokens: [],
      },
    );
  });

  it("takes NAMESPACE/SERVICE-ACCOUNT as a caller, and `plaintext` as none", () => {
    assert.equal(request("--from", "shop/web").from, "shop/web");
    assert.equal(request("--from", "plaintext").from, undefined);
  });

  const WRONG: readonly (readonly [what: string, argv: readonly string[], message: RegExp])[] = [
    ["no caller", [], /`from` is missing/],
    ["a caller that is none", ["--from", "nobody"], /`from` is not a caller: `nobody`/],
    ["a caller in upper case", ["--from", "Shop/web"], /`from` is not a caller: `Shop\/web`/],
    ["a port that is no number", ["--from", "plaintext", "--port", "http"], /`--port http`/],
    ["a header without a colon", ["--from", "plaintext", "--header", "x-a"], /`x-a` is not a header/],
    ["a header that proxies write", ["--from", "plaintext", "--header", "x-envoy-peer: 1"], /cannot be set by a test/],
    ["a line end in the path", ["--from", "plaintext", "--path", "/\r\nx"], /`path` is not a request's path/],
    ["a server name without TLS", ["--from", "plaintext", "--sni", "a"], /both `from: plaintext` and `sni`/],
  ];
  for (const [what, argv, message] of WRONG)
    it(`is refused for ${what}`, () => {
      assert.throws(() => request(...argv), { code: "invalid-argument", message });
    });
});

describe("a request from a file", () => {
  it("is read from YAML and from JSON with the same decoder", (t) => {
    const fromYaml = request("--request", fileOf(t, "from: plaintext\npath: /a\nheaders: { x-a: '1' }\n"));
    const fromJson = request("--request", fileOf(t, '{"from": "plaintext", "path": "/a", "headers": {"x-a": "1"}}'));
    assert.deepEqual(fromYaml, fromJson);
    assert.deepEqual([fromYaml.path, fromYaml.headers], ["/a", new Map([["x-a", ["1"]]])]);
  });

  it("stands alone: a flag beside it is refused", (t) => {
    const file = fileOf(t, "from: plaintext\n");
    assert.throws(() => request("--request", file, "--header", "a: b"), { code: "invalid-argument", message: /`--header`/ });
    assert.throws(() => request("--request", file, "--path", "/"), { code: "invalid-argument", message: /`--path`/ });
  });

  it("is one request", (t) => {
    const file = fileOf(t, "from: plaintext\n---\nfrom: plaintext\n");
    assert.throws(() => request("--request", file), { code: "invalid-configuration", message: /more than one/ });
  });

  it("tells every mistake with its line and column", (t) => {
    const file = fileOf(t, "from: plaintext\nmethod: 7\npathh: /\n");
    const told = withStderr(t, () => {
      assert.throws(() => request("--request", file), { code: "invalid-configuration", message: "the file with a request has 2 mistakes" });
    });
    assert.match(told, /request\.yaml:2:9: error GAR0006: `method` must be a string/);
    assert.match(told, /request\.yaml:3:1: error GAR0003: unknown field `pathh`\n {2}help: did you mean `path`/);
  });

  it("tells where the file stops being YAML", (t) => {
    const file = fileOf(t, "from: [plaintext\n");
    const told = withStderr(t, () => assert.throws(() => request("--request", file), { code: "invalid-configuration" }));
    assert.match(told, /request\.yaml:\d+:\d+: error GAR0001/);
  });

  it("is refused where it is missing, empty, too long or no text", (t) => {
    assert.throws(() => request("--request", "/nowhere/at-all.yaml"), { code: "not-found" });
    assert.throws(() => request("--request", fileOf(t, "")), { code: "invalid-configuration", message: /is empty/ });
    assert.throws(() => request("--request", fileOf(t, "#".repeat(4 * 1024 * 1024 + 1))), {
      code: "invalid-configuration",
      message: /4 MiB/,
    });
    assert.throws(() => request("--request", fileOf(t, new Uint8Array([0xff, 0xfe, 0]))), {
      code: "invalid-configuration",
      message: /UTF-8/,
    });
  });
});
