import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { Protocol } from "../model.ts";
import { parseProtocol, protocolOfPort, serverFirst } from "./port-protocol.ts";

describe("protocolOfPort", () => {
  const CASES: readonly (readonly [name: string, appProtocol: string | undefined, protocol: Protocol])[] = [
    ["http", undefined, "http"],
    ["http-web", undefined, "http"],
    ["HTTP-web", undefined, "http"],
    ["http2", undefined, "http2"],
    ["http2-a", undefined, "http2"],
    ["grpc-a", undefined, "http2"],
    ["grpc-web", undefined, "http"],
    ["grpc-web-a", undefined, "http"],
    ["grpc-website", undefined, "http2"],
    ["https", undefined, "tcp"],
    ["tls-a", undefined, "tcp"],
    ["tcp", undefined, "tcp"],
    ["redis-a", undefined, "tcp"],
    ["mongo", undefined, "tcp"],
    ["mysql", undefined, "tcp"],
    ["httpx", undefined, "tcp"],
    ["web-http", undefined, "tcp"],
    ["", undefined, "tcp"],
    ["constructor", undefined, "tcp"],
    ["tcp", "http", "http"],
    ["http", "tcp", "tcp"],
    ["http", "example.org/own", "tcp"],
    ["a", "kubernetes.io/h2c", "http2"],
    ["a", "kubernetes.io/ws", "http"],
    ["a", "kubernetes.io/wss", "tcp"],
  ];
  for (const [name, appProtocol, protocol] of CASES) {
    it(`is ${protocol} for name \`${name}\`${appProtocol === undefined ? "" : ` and appProtocol \`${appProtocol}\``}`, () => {
      assert.equal(protocolOfPort(name, appProtocol), protocol);
    });
  }
});

describe("parseProtocol", () => {
  it("takes Istio's names in any case, and nothing that begins with them", () => {
    assert.equal(parseProtocol("GRPC-Web"), "http");
    assert.equal(parseProtocol("HTTP2"), "http2");
    assert.equal(parseProtocol("http-web"), undefined);
    assert.equal(parseProtocol("UDP"), undefined);
  });
});

describe("a port whose server speaks first", () => {
  it("is told by appProtocol, or by the name where that is not said", () => {
    const told = (name: string, appProtocol?: string) => serverFirst(name, appProtocol).serverFirst ?? false;
    assert.deepEqual([told("mysql"), told("MySQL-main"), told("db", "mysql")], [true, true, true]);
    assert.deepEqual([told("mysqlx"), told("tcp-mysql"), told("mysql", "tcp"), told("")], [false, false, false, false]);
  });
});
