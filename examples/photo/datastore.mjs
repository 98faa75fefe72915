// datastore: a small Redis (RESP2) in memory, on a loopback port and, with DATASTORE_SOCKET, on a Unix socket too.
import { createServer } from "node:net";
import process from "node:process";
import { encodeReply, ProtocolError, RespReader, Status } from "./resp.mjs";
import { fail, listenOnLoopback, ownPort, stopOnSignal } from "./service.mjs";
import { startTryServer } from "./try-server.mjs";
import { listenOnSocket } from "./unix-socket.mjs";

const MAX_KEYS = 10_000;
const MAX_KEY_LENGTH = 256;
const MAX_VALUE_LENGTH = 64 * 1024;

/** @type {Map<string, string>} */
const values = new Map();
/** @type {Set<import("node:net").Socket>} */
const connections = new Set();

/**
 * Whether a text matches a pattern of `*` and `?`.
 * @param {string} pattern
 * @param {string} text
 */
function matches(pattern, text) {
  let [at, star, from] = [0, -1, 0];
  for (let index = 0; index < text.length; index++) {
    if (pattern[at] === "*") {
      [star, from] = [at++, index--];
    } else if (pattern[at] === "?" || (at < pattern.length && pattern[at] === text[index])) {
      at++;
    } else if (star >= 0) {
      [at, index] = [star + 1, from++];
    } else {
      return false;
    }
  }
  return /^\**$/.test(pattern.slice(at));
}

/**
 * @param {string} key
 * @param {string} value
 */
function set(key, value) {
  if (key.length > MAX_KEY_LENGTH || value.length > MAX_VALUE_LENGTH) return new Error("the key or the value is too long");
  if (values.size >= MAX_KEYS && !values.has(key)) return new Error("the datastore is full");
  values.set(key, value);
  return new Status("OK");
}

/** @param {string} pattern */
function keys(pattern) {
  if (pattern.length > MAX_KEY_LENGTH) return new Error("the pattern is too long");
  return [...values.keys()].filter((key) => matches(pattern, key));
}

function info() {
  return `# Server\r\nserver_name:garrison-example-datastore\r\nconnected_clients:${connections.size}\r\nkeys:${values.size}\r\n`;
}

/**
 * Each command: how many arguments it takes (least and most), and what it does.
 * @type {Readonly<Record<string, { least: number, most: number, run: (args: string[]) => unknown }>>}
 */
const COMMANDS = {
  PING: { least: 0, most: 1, run: ([text]) => text ?? new Status("PONG") },
  SET: { least: 2, most: 2, run: ([key = "", value = ""]) => set(key, value) },
  GET: { least: 1, most: 1, run: ([key = ""]) => values.get(key) ?? null },
  DEL: { least: 1, most: 100, run: (names) => names.filter((name) => values.delete(name)).length },
  KEYS: { least: 1, most: 1, run: ([pattern = ""]) => keys(pattern) },
  INFO: { least: 0, most: 1, run: info },
  QUIT: { least: 0, most: 0, run: () => new Status("OK") },
};

/**
 * The reply to a command.
 * @param {unknown} command
 */
function execute(command) {
  if (!Array.isArray(command) || !command.every((word) => typeof word === "string")) return new Error("a command is an array of strings");
  const [name = "", ...args] = command;
  const row = COMMANDS[name.toUpperCase()];
  if (row === undefined) return new Error(`unknown command '${name.slice(0, 64)}'`);
  if (args.length < row.least || args.length > row.most) return new Error(`wrong number of arguments for '${name}' command`);
  return row.run(args);
}

/** @param {import("node:net").Socket} socket */
function serve(socket) {
  const reader = new RespReader();
  connections.add(socket);
  socket.on("close", () => connections.delete(socket));
  socket.on("error", () => socket.destroy());
  socket.on("data", (chunk) => {
    try {
      for (const command of reader.push(chunk)) {
        if (Array.isArray(command) && command.length === 0) continue; // an empty line
        socket.write(encodeReply(execute(command)));
        if (Array.isArray(command) && String(command[0]).toUpperCase() === "QUIT") socket.end();
      }
    } catch (error) {
      if (!(error instanceof ProtocolError)) throw error;
      socket.end(encodeReply(new Error(`Protocol error: ${error.message}`)));
    }
  });
}

const server = createServer(serve);
const socketServer = createServer(serve);
const socketPath = process.env.DATASTORE_SOCKET;
if (socketPath) {
  socketServer.on("error", (error) => fail("datastore", error));
  listenOnSocket(socketServer, socketPath);
}
const tries = startTryServer("datastore");
listenOnLoopback(server, "datastore", ownPort(17380));
stopOnSignal(() => {
  server.close();
  socketServer.close();
  tries?.close();
});
