// Tries a service as the service that runs this: whoever holds the Unix socket GARRISON_TRY_SOCKET may ask photo-frontend, say,
// to call the datastore. The call goes where the service's own calls go, so the answer is what its identity gets.
//
//   POST /http {"service": "photo-backend", "method": "GET", "path": "/photos"}    -> {"status", "headers", "body"} or {"error"}
//   POST /tcp  {"service": "datastore", "port": "tcp-redis", "payload": "PING\r\n"} -> {"reply", "closed"} or {"error", "closed"}
import { connect } from "node:net";
import process from "node:process";
import { createJsonServer, readBody, send } from "./http.mjs";
import { fail, findService } from "./service.mjs";
import { listenOnSocket } from "./unix-socket.mjs";

const TIMEOUT = 5000;
const MAX_REPLY = 64 * 1024;

/**
 * Sends bytes and reads one line, or up to the connection's end.
 * @param {{ host: string, port: number }} target
 * @param {string} payload
 * @returns {Promise<{ reply?: string, error?: string, closed: boolean }>}
 */
function exchange(target, payload) {
  return new Promise((resolve) => {
    const socket = connect(target, () => socket.write(payload));
    let reply = "";
    const finish = (outcome) => {
      resolve(outcome);
      socket.destroy();
    };
    socket.setEncoding("utf8");
    socket.setTimeout(TIMEOUT, () => finish({ error: "no answer", closed: false }));
    socket.on("error", (error) => finish({ error: error.message, closed: true }));
    socket.on("close", () => finish({ reply, closed: true }));
    socket.on("data", (text) => {
      reply += text;
      if (reply.endsWith("\r\n") || reply.length > MAX_REPLY) finish({ reply, closed: false });
    });
  });
}

/** @param {{ service: string, method?: string, path?: string, headers?: Record<string, string> }} what */
async function tryHttp({ service, method = "GET", path = "/", headers = {} }) {
  const target = findService(service);
  if (target === undefined) return { status: 404, json: { error: `the environment does not say where \`${service}\` is` } };
  const outcome = await send({ ...target, method, path, headers }).catch((error) => ({ error: error.message }));
  return { status: 200, json: outcome };
}

/** @param {{ service: string, port?: string, payload?: string }} what */
async function tryTcp({ service, port, payload = "" }) {
  const target = findService(service, port);
  if (target === undefined) return { status: 404, json: { error: `the environment does not say where \`${service}\` is` } };
  return { status: 200, json: await exchange(target, payload) };
}

/**
 * The request's body: an object that names a service.
 * @param {string} text
 */
function parse(text) {
  try {
    const what = JSON.parse(text);
    const isText = (name) => what[name] === undefined || typeof what[name] === "string";
    return what?.service !== undefined && ["service", "method", "path", "port", "payload"].every(isText) ? what : undefined;
  } catch {
    return undefined;
  }
}

/**
 * Serves on GARRISON_TRY_SOCKET; nothing happens when it is not set.
 * @param {string} name
 * @returns {{ close(): void } | undefined}
 */
export function startTryServer(name) {
  const path = process.env.GARRISON_TRY_SOCKET;
  if (!path) return undefined;
  const server = createJsonServer(`${name} try server`, async (request) => {
    const kind = request.method === "POST" ? request.url : undefined;
    if (kind !== "/http" && kind !== "/tcp") return { status: 404, json: { error: "POST /http or POST /tcp" } };
    const what = parse(await readBody(request));
    if (what === undefined) return { status: 400, json: { error: "the body is an object with a `service`; its fields are strings" } };
    return kind === "/http" ? tryHttp(what) : tryTcp(what);
  });
  server.on("error", (error) => fail(name, error));
  listenOnSocket(server, path);
  return server;
}
