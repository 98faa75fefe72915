/** `normalizePath` against the `normalize_path` of a real Envoy: the same path, or both refuse. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { normalizePath } from "../../src/render/decide/normalize-path.ts";
import { workFolder } from "./envoy-process.ts";
import { findEnvoy, skipWithoutEnvoy } from "./find-envoy.ts";

const skip = skipWithoutEnvoy();
const REFUSED = "refused";

/** What paths are made of: everything that some normalizer has stumbled over. */
const TOKENS = [
  "/",
  "/",
  "/",
  "//",
  ".",
  "..",
  "...",
  "%2e",
  "%2E",
  "%2f",
  "%2F",
  "%5c",
  "%5C",
  "\\",
  ";",
  "..;",
  "/..;",
  ".;",
  "%2e%2e;",
  "%3b",
];
const CHARACTERS = [
  "a",
  "b",
  "%41",
  "%7e",
  "%00",
  "%0a",
  "%20",
  "%25",
  "%c3",
  "%",
  "%4",
  "%zz",
  "?",
  "#",
  '"',
  "<",
  "|",
  "~",
  ":",
  "@",
  "[",
  "*",
  "=",
  "'",
  "é",
  "\x01",
];

/** Written out so that every run asks the same (a linear congruential generator). */
function* generatedPaths(count: number): Generator<string> {
  const alphabet = [...TOKENS, ...CHARACTERS];
  let state = 20_211_123;
  const next = (bound: number): number => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) & 0x7fffffff;
    return Math.floor((state / 0x80000000) * bound);
  };
  for (let index = 0; index < count; index++) {
    const length = 1 + next(9);
    yield Array.from({ length }, () => alphabet[next(alphabet.length)] ?? "")
      .join("")
      .replace(/^/, next(20) === 0 ? "" : "/");
  }
}

const CHOSEN = [
  ...Array.from({ length: 256 }, (_, byte) => `/a%${byte.toString(16).padStart(2, "0")}b`),
  ...Array.from({ length: 256 }, (_, byte) => `/a${String.fromCharCode(byte)}b`).filter((path) => !/[\r\n]/.test(path)),
  ...[
    "",
    "*",
    "?x",
    "#",
    "\\a",
    "/.",
    "/..",
    "/%2e",
    "/a/%2e%2e;x/c",
    "/a\\..;x/b",
    "/%4%41",
    "/%%34%31",
    "/a/..;x\\b",
    "/a/..;%00/b",
    "/a#b?c",
    "/a?b#c",
    "//h/../a",
  ],
];

/** A listener that answers with the path it has in the end. */
function bootstrap(adminSocket: string): object {
  const type = (name: string) => `type.googleapis.com/envoy.extensions.filters.${name}`;
  const route = {
    match: { prefix: "" },
    direct_response: { status: 200 },
    response_headers_to_add: [{ header: { key: "x-path", value: "[%REQ(:PATH)%]" } }],
  };
  const manager = {
    "@type": type("network.http_connection_manager.v3.HttpConnectionManager"),
    stat_prefix: "normalize",
    normalize_path: true,
    merge_slashes: false,
    path_with_escaped_slashes_action: "KEEP_UNCHANGED",
    route_config: { virtual_hosts: [{ name: "all", domains: ["*"], routes: [route] }] },
    http_filters: [{ name: "router", typed_config: { "@type": type("http.router.v3.Router") } }],
  };
  return {
    admin: { address: { pipe: { path: adminSocket } } },
    // As in the bootstrap of the agent's Envoy: fragments are stripped, not refused (Istio AZ-10).
    layered_runtime: { layers: [{ name: "test", static_layer: { "envoy.reloadable_features.http_reject_path_with_fragment": false } }] },
    static_resources: {
      listeners: [
        {
          name: "normalize",
          address: { socket_address: { address: "127.0.0.1", port_value: 0 } },
          filter_chains: [{ filters: [{ name: "http", typed_config: manager }] }],
        },
      ],
    },
  };
}

let port = 0;
let stop = async () => {};

async function listenerPort(adminSocket: string): Promise<number> {
  for (const end = Date.now() + 20_000; Date.now() < end; await delay(20)) {
    const answer = await fetchText(adminSocket).catch(() => "");
    const found = /127\.0\.0\.1:(\d+)/.exec(answer);
    if (found !== null) return Number(found[1]);
  }
  throw new Error("envoy does not listen");
}

async function fetchText(socketPath: string): Promise<string> {
  const socket = connect(socketPath);
  socket.end("GET /listeners HTTP/1.1\r\nHost: admin\r\nConnection: close\r\n\r\n");
  let text = "";
  for await (const chunk of socket) text += String(chunk);
  return text;
}

before(async () => {
  if (skip !== false) return;
  const folder = workFolder();
  const adminSocket = join(folder.path, "admin.sock");
  const file = join(folder.path, "bootstrap.json");
  writeFileSync(file, JSON.stringify(bootstrap(adminSocket)));
  const envoy = spawn(findEnvoy() ?? "envoy", ["-c", file, "--concurrency", "1", "--disable-hot-restart", "--log-level", "error"], {
    stdio: "ignore",
  });
  process.once("exit", () => envoy.kill("SIGKILL"));
  stop = async () => {
    envoy.kill("SIGKILL");
    await once(envoy, "exit");
    folder[Symbol.dispose]();
  };
  port = await listenerPort(adminSocket);
});
after(() => stop());

/** The path in Envoy's answer, or that it refused. `path` is bytes in a string, as HTTP has them. */
async function askEnvoy(path: string): Promise<string> {
  const socket = connect(port, "127.0.0.1");
  socket.write(Buffer.from(`GET ${path} HTTP/1.1\r\nHost: h\r\n\r\n`, "latin1"));
  let answer = "";
  for await (const chunk of socket) {
    answer += String(chunk);
    // A refused connection is held open for a second after its answer; the head is enough.
    if (answer.includes("\r\n\r\n")) break;
  }
  return answer.startsWith("HTTP/1.1 200") ? (/x-path: \[(.*)\]\r\n/.exec(answer)?.[1] ?? REFUSED) : REFUSED;
}

function askOurs(path: string): string {
  const normalized = normalizePath(path);
  return normalized === undefined ? REFUSED : normalized.path + normalized.query;
}

async function compare(paths: Iterable<string>): Promise<{ readonly refused: number; readonly passed: number }> {
  const outcomes = { refused: 0, passed: 0 };
  for (const path of paths) {
    const envoy = await askEnvoy(path);
    assert.equal(askOurs(path), envoy, JSON.stringify(path));
    outcomes[envoy === REFUSED ? "refused" : "passed"] += 1;
  }
  return outcomes;
}

test("every byte, escaped and not, is treated as Envoy treats it", { skip }, async () => {
  const { passed, refused } = await compare(CHOSEN);
  assert.ok(passed > 300 && refused > 150, `${passed} passed, ${refused} refused`);
});

test("generated paths are normalized as Envoy normalizes them, or refused by both", { skip }, async () => {
  const { passed, refused } = await compare(generatedPaths(1_000));
  assert.ok(passed > 300 && refused > 100, `${passed} passed, ${refused} refused`);
});
