// photo-frontend: shows the photos that photo-backend has. GET /, GET /photos/ID.
import { createJsonServer, send } from "./http.mjs";
import { listenOnLoopback, ownPort, requireService, stopOnSignal } from "./service.mjs";
import { startTryServer } from "./try-server.mjs";

const backend = requireService("photo-backend");

/** @param {string} text */
function escapeHtml(text) {
  return text.replace(/[&<>"']/g, (char) => `&#${char.codePointAt(0)};`);
}

/** @param {{ id: string, title: string }[]} photos */
function page(photos) {
  const items = photos.map(({ id, title }) => `<li><a href="/photos/${encodeURIComponent(id)}">${escapeHtml(title)}</a></li>`);
  return `<!doctype html>\n<meta charset="utf-8">\n<title>Photos</title>\n<h1>Photos</h1>\n<ul>\n${items.join("\n")}\n</ul>\n`;
}

/**
 * Asks the backend; whatever is not a success there is a bad gateway here, with what it said.
 * @param {string} path
 */
async function ask(path) {
  try {
    const { status, headers, body } = await send({ ...backend, path });
    if ([200, 404].includes(status) && headers["content-type"] === "application/json") return { status, json: JSON.parse(body) };
    return { status: 502, json: { error: "photo-backend refused", status, said: body.slice(0, 200) } };
  } catch (error) {
    return { status: 502, json: { error: `photo-backend cannot be reached: ${error.message}` } };
  }
}

const server = createJsonServer("photo-frontend", async ({ method, url = "/", headers }) => {
  if (method !== "GET") return { status: 405, json: { error: "only GET" } };
  if (url === "/healthz") return { status: 200, json: { ok: true } };
  if (/^\/photos\/[^/]+$/.test(url)) return ask(url);
  if (url !== "/") return { status: 404, json: { error: "not found" } };
  const answer = await ask("/photos");
  if (answer.status !== 200 || !headers.accept?.includes("text/html")) return answer;
  return { status: 200, text: page(answer.json.photos), type: "text/html; charset=utf-8" };
});

const tries = startTryServer("photo-frontend");
listenOnLoopback(server, "photo-frontend", ownPort(17180));
stopOnSignal(() => {
  server.close();
  tries?.close();
});
