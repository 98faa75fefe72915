/** `normalizePath` in each mode against a real Envoy with what `render/envoy` says for it: the same path, or both refuse. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { once } from "node:events";
import { writeFileSync } from "node:fs";
import { connect } from "node:net";
import { join } from "node:path";
import { after, before, test } from "node:test";
import { setTimeout as delay } from "node:timers/promises";
import { fromBinary } from "@bufbuild/protobuf";
import type { InboundListener, WorkloadPolicy } from "../../src/compile/workload-policy.ts";
import {
  type HttpConnectionManager,
  HttpConnectionManagerSchema,
} from "../../src/gen/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.js";
import type { PathNormalization } from "../../src/policy/mesh-config.ts";
import { normalizePath } from "../../src/render/decide/normalize-path.ts";
import { inboundListener } from "../../src/render/envoy/inbound.ts";
import { workFolder } from "./envoy-process.ts";
import { findEnvoy, skipWithoutEnvoy } from "./find-envoy.ts";

const skip = skipWithoutEnvoy();
const REFUSED = "refused";
const MODES: readonly PathNormalization[] = ["NONE", "BASE", "MERGE_SLASHES", "DECODE_AND_MERGE_SLASHES"];

const LISTENER: InboundListener = {
  name: "inbound_80",
  bind: "127.0.0.1",
  port: 80,
  protocol: "http",
  mtls: "DISABLE",
  endpoint: { kind: "tcp", host: "127.0.0.1", port: 81 },
  services: [],
};
const NO_RULES = { audit: [], deny: [], allow: undefined };
const POLICY: WorkloadPolicy = {
  workload: "a/b",
  address: "127.0.0.1",
  identity: "spiffe://cluster.local/ns/a/sa/b",
  trustDomains: ["cluster.local"],
  inbound: [LISTENER],
  outbound: [],
  http: NO_RULES,
  tcp: NO_RULES,
};

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
    "//",
    "///",
    "/a//",
    "//a//b//",
    "/%2F%2f",
    "/%5c%5C",
    "/a%2F..%5Cb",
    "/a//..//b",
    "/a%2f%2e%2e;x=1%2Fb",
    "/a;//b",
    "/a?b//c%2F",
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

type Settings = Pick<HttpConnectionManager, "normalizePath" | "mergeSlashes" | "pathWithEscapedSlashesAction">;

/** What the product's own listener says of paths. */
function settingsOf(pathNormalization: PathNormalization): Settings {
  const listener = inboundListener({ ...POLICY, pathNormalization }, LISTENER);
  const config = listener.filterChains[0]?.filters.at(-1)?.configType;
  assert.ok(config?.case === "typedConfig");
  return fromBinary(HttpConnectionManagerSchema, config.value.value);
}

/** Listeners that answer with the path it has in the end, one for each mode. */
function bootstrap(adminSocket: string): object {
  const type = (name: string) => `type.googleapis.com/envoy.extensions.filters.${name}`;
  const route = {
    match: { prefix: "" },
    direct_response: { status: 200 },
    response_headers_to_add: [{ header: { key: "x-path", value: "[%REQ(:PATH)%]" } }],
  };
  const managerOf = ({ normalizePath: normalize, mergeSlashes, pathWithEscapedSlashesAction }: Settings) => ({
    "@type": type("network.http_connection_manager.v3.HttpConnectionManager"),
    stat_prefix: "normalize",
    normalize_path: normalize,
    merge_slashes: mergeSlashes,
    path_with_escaped_slashes_action: pathWithEscapedSlashesAction,
    route_config: { virtual_hosts: [{ name: "all", domains: ["*"], routes: [route] }] },
    http_filters: [{ name: "router", typed_config: { "@type": type("http.router.v3.Router") } }],
  });
  return {
    admin: { address: { pipe: { path: adminSocket } } },
    // As in the bootstrap of the agent's Envoy: fragments are stripped, not refused (Istio AZ-10).
    layered_runtime: { layers: [{ name: "test", static_layer: { "envoy.reloadable_features.http_reject_path_with_fragment": false } }] },
    static_resources: {
      listeners: MODES.map((mode) => ({
        name: mode,
        address: { socket_address: { address: "127.0.0.1", port_value: 0 } },
        filter_chains: [{ filters: [{ name: "http", typed_config: managerOf(settingsOf(mode)) }] }],
      })),
    },
  };
}

let ports: ReadonlyMap<string, number> = new Map();
let stop = async () => {};

/** By the name of the listener. */
async function listenerPorts(adminSocket: string): Promise<ReadonlyMap<string, number>> {
  for (const end = Date.now() + 20_000; Date.now() < end; await delay(20)) {
    const answer = await fetchText(adminSocket).catch(() => "");
    const found = [...answer.matchAll(/(\w+)::127\.0\.0\.1:(\d+)/g)];
    if (found.length === MODES.length) return new Map(found.map(([, name = "", port]) => [name, Number(port)]));
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
  ports = await listenerPorts(adminSocket);
});
after(() => stop());

/** The path in Envoy's answer, or that it refused. `path` is bytes in a string, as HTTP has them. */
async function askEnvoy(path: string, mode: PathNormalization): Promise<string> {
  const socket = connect(ports.get(mode) ?? 0, "127.0.0.1");
  socket.write(Buffer.from(`GET ${path} HTTP/1.1\r\nHost: h\r\n\r\n`, "latin1"));
  let answer = "";
  for await (const chunk of socket) {
    answer += String(chunk);
    // A refused connection is held open for a second after its answer; the head is enough.
    if (answer.includes("\r\n\r\n")) break;
  }
  return answer.startsWith("HTTP/1.1 200") ? (/x-path: \[(.*)\]\r\n/.exec(answer)?.[1] ?? REFUSED) : REFUSED;
}

function askOurs(path: string, mode: PathNormalization): string {
  const normalized = normalizePath(path, mode);
  return normalized === undefined ? REFUSED : normalized.path + normalized.query;
}

async function compare(paths: Iterable<string>, mode: PathNormalization): Promise<{ readonly refused: number; readonly passed: number }> {
  const outcomes = { refused: 0, passed: 0 };
  for (const path of paths) {
    const envoy = await askEnvoy(path, mode);
    assert.equal(askOurs(path, mode), envoy, `${mode} ${JSON.stringify(path)}`);
    outcomes[envoy === REFUSED ? "refused" : "passed"] += 1;
  }
  return outcomes;
}

for (const mode of MODES) {
  test(`${mode}: every byte, escaped and not, is treated as Envoy treats it`, { skip }, async () => {
    const { passed, refused } = await compare(CHOSEN, mode);
    assert.ok(passed > 300 && refused > 150, `${passed} passed, ${refused} refused`);
  });

  test(`${mode}: generated paths become what Envoy makes of them, or are refused by both`, { skip }, async () => {
    const { passed, refused } = await compare(generatedPaths(1_000), mode);
    assert.ok(passed > 300 && refused > 100, `${passed} passed, ${refused} refused`);
  });
}
