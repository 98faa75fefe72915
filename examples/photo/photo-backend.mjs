// photo-backend: the photos' metadata, kept in the datastore. GET /photos, GET and DELETE /photos/ID, GET /admin.
import { DatastoreClient } from "./datastore-client.mjs";
import { createJsonServer } from "./http.mjs";
import { listenOnLoopback, ownPort, requireService, stopOnSignal } from "./service.mjs";
import { startTryServer } from "./try-server.mjs";

const SAMPLES = [
  { id: "1", title: "Lighthouse at dusk", year: 2019 },
  { id: "2", title: "Two herons", year: 2021 },
  { id: "3", title: "Harbour in fog", year: 2024 },
];

/**
 * Puts the samples into a datastore that never had them.
 * @param {(...args: string[]) => Promise<unknown>} command
 */
async function addSamples(command) {
  if ((await command("GET", "photos:seeded")) !== null) return;
  for (const photo of SAMPLES) await command("SET", `photo:${photo.id}`, JSON.stringify(photo));
  await command("SET", "photos:seeded", "1");
}

const datastore = new DatastoreClient({ ...requireService("datastore"), prepare: addSamples });

async function list() {
  const keys = await datastore.command("KEYS", "photo:*");
  const values = await Promise.all(keys.sort().map((key) => datastore.command("GET", key)));
  return { status: 200, json: { photos: values.filter((value) => value !== null).map((value) => JSON.parse(value)) } };
}

/** @param {string} id */
async function show(id) {
  const value = await datastore.command("GET", `photo:${id}`);
  return value === null ? { status: 404, json: { error: "no such photo" } } : { status: 200, json: JSON.parse(value) };
}

/** @param {string} id */
async function remove(id) {
  const removed = await datastore.command("DEL", `photo:${id}`);
  return removed === 0 ? { status: 404, json: { error: "no such photo" } } : { status: 204 };
}

async function admin() {
  const keys = await datastore.command("KEYS", "photo:*");
  return { status: 200, json: { photos: keys.length, datastore: await datastore.command("INFO") } };
}

/**
 * @param {string} method
 * @param {string} path
 */
async function route(method, path) {
  if (path === "/healthz") return { status: 200, json: { ok: true } };
  if (method === "GET" && path === "/photos") return list();
  if (method === "GET" && path === "/admin") return admin();
  const id = /^\/photos\/([a-z0-9-]{1,64})$/.exec(path)?.[1];
  if (id !== undefined && method === "GET") return show(id);
  if (id !== undefined && method === "DELETE") return remove(id);
  return { status: 404, json: { error: "not found" } };
}

const server = createJsonServer("photo-backend", async ({ method = "", url = "" }) => {
  try {
    return await route(method, url.split("?")[0] ?? "");
  } catch (error) {
    return { status: 503, json: { error: `datastore cannot be reached: ${error.message}` } };
  }
});

const tries = startTryServer("photo-backend");
listenOnLoopback(server, "photo-backend", ownPort(17280));
stopOnSignal(() => {
  server.close();
  datastore.close();
  tries?.close();
});
