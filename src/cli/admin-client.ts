/** A client of the admin socket of a control plane, or of an agent. */
import { type IncomingMessage, request } from "node:http";
import { AppError, ERROR_CODES, type ErrorCode } from "../core/error.ts";
import { readControlPlaneFile } from "../server/files.ts";

/** Longer than the control plane waits for other replicas and for proxies. */
const TIMEOUT_MS = 25_000;

function unavailable(socket: string, cause: unknown): AppError {
  const help = "the process that made it is not running: start it again, or name another state folder with --state";
  return new AppError("unavailable", "nothing answers on the admin socket", { where: socket, help, cause });
}

/** One request; the response as a stream. Throws `unavailable` where nobody listens. */
export function openAdmin(socket: string, method: string, path: string, body?: unknown): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const sent = request({ socketPath: socket, method, path, headers: { "content-type": "application/json" } });
    sent.setTimeout(TIMEOUT_MS, () => sent.destroy(new Error("no answer in time")));
    sent.on("response", (response) => {
      sent.setTimeout(0);
      resolve(response);
    });
    sent.on("error", (cause) => reject(unavailable(socket, cause)));
    sent.end(body === undefined ? undefined : JSON.stringify(body));
  });
}

async function readText(response: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = [];
  for await (const chunk of response as AsyncIterable<Buffer>) chunks.push(chunk);
  return Buffer.concat(chunks).toString("utf8");
}

function isErrorCode(value: unknown): value is ErrorCode {
  return ERROR_CODES.some((code) => code === value);
}

function toError(answer: unknown): AppError {
  const fields: Readonly<Record<string, unknown>> =
    typeof answer === "object" && answer !== null ? (answer as Readonly<Record<string, unknown>>) : {};
  const message = typeof fields.message === "string" ? fields.message : "the admin socket refused the request";
  const help = typeof fields.help === "string" ? { help: fields.help } : {};
  return new AppError(isErrorCode(fields.code) ? fields.code : "internal", message, help);
}

function parseAnswer(socket: string, text: string): unknown {
  try {
    return JSON.parse(text);
  } catch (cause) {
    throw new AppError("internal", "the admin socket answered something that is not JSON", { where: socket, cause });
  }
}

/** What a response with another status than 200 says. */
export async function refusalOf(socket: string, response: IncomingMessage): Promise<AppError> {
  return toError(parseAnswer(socket, await readText(response)));
}

/** One request; the answer's JSON. Throws what the other side answered, as it was. */
export async function callAdmin(socket: string, method: string, path: string, body?: unknown): Promise<unknown> {
  const response = await openAdmin(socket, method, path, body);
  const answer = parseAnswer(socket, await readText(response));
  if (response.statusCode !== 200) throw toError(answer);
  return answer;
}

/** What a route answers in JSON lines, each as it is. Throws what the other side answered. */
export async function callAdminLines(socket: string, path: string): Promise<readonly string[]> {
  const response = await openAdmin(socket, "GET", path);
  const text = await readText(response);
  if (response.statusCode !== 200) throw toError(parseAnswer(socket, text));
  return text.split("\n").filter((line) => line !== "");
}

/** The admin socket of the control plane with this state folder. */
export function controlPlaneSocket(stateFolder: string): string {
  return readControlPlaneFile(stateFolder).adminSocket;
}
