// HTTP, small: a server of JSON and a client that takes a connection for each request.
import { createServer, request } from "node:http";

const LIMIT = 1024 * 1024;
const TIMEOUT = 5000;

/**
 * An answer: JSON, or text of another type.
 * @typedef {{ status: number, json?: unknown, text?: string, type?: string }} Answer
 */

/**
 * A server whose handler returns an answer; what it throws becomes 500, and is told in the log.
 * @param {string} name
 * @param {(request: import("node:http").IncomingMessage) => Promise<Answer>} handle
 */
export function createJsonServer(name, handle) {
  return createServer(async (incoming, response) => {
    const answer = await handle(incoming).catch((error) => {
      console.error(`${name}: ${incoming.method} ${incoming.url}: ${error.message}`);
      return { status: 500, json: { error: "internal error" } };
    });
    incoming.resume();
    const body = answer.text ?? (answer.json === undefined ? "" : `${JSON.stringify(answer.json)}\n`);
    const type = answer.type ?? "application/json";
    response.writeHead(answer.status, body === "" ? {} : { "content-type": type, "content-length": Buffer.byteLength(body) });
    response.end(incoming.method === "HEAD" ? undefined : body);
  });
}

/**
 * The body of a request or a response, as text.
 * @param {import("node:http").IncomingMessage} message
 */
export async function readBody(message) {
  const chunks = [];
  let size = 0;
  for await (const chunk of message) {
    size += chunk.length;
    if (size > LIMIT) throw new Error(`a body is longer than ${LIMIT} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks).toString("utf8");
}

/**
 * Sends one request on a connection of its own and reads the whole answer.
 * @param {{ host: string, port: number, method?: string, path: string, headers?: Record<string, string> }} target
 * @returns {Promise<{ status: number, headers: import("node:http").IncomingHttpHeaders, body: string }>}
 */
export function send({ host, port, method = "GET", path, headers = {} }) {
  return new Promise((resolve, reject) => {
    const outgoing = request({ host, port, method, path, headers, agent: false, signal: AbortSignal.timeout(TIMEOUT) });
    outgoing.on("error", reject);
    outgoing.on("response", (response) => {
      const { statusCode = 0, headers: answered } = response;
      readBody(response).then((body) => resolve({ status: statusCode, headers: answered, body }), reject);
    });
    outgoing.end();
  });
}
