/**
 * A program in the place of the embedded proxy: `fake-proxy.ts [BEHAVIOUR…] --bootstrap FILE`. It answers
 * `GET /ready` at the bootstrap's `readySocket`. Behaviours: `ignore-sigterm`, `never-ready`, `exit=STATUS`.
 */
import { readFileSync, rmSync } from "node:fs";
import { createServer } from "node:http";

const behaviours = process.argv.slice(2, process.argv.indexOf("--bootstrap"));
const { readySocket } = JSON.parse(readFileSync(process.argv.at(-1) ?? "", "utf8")) as { readonly readySocket: string };

const exit = behaviours.find((behaviour) => behaviour.startsWith("exit="));
if (exit !== undefined) {
  console.error("the fake proxy ends \u001b[31mat once");
  process.exit(Number(exit.slice("exit=".length)));
}
if (behaviours.includes("ignore-sigterm")) process.on("SIGTERM", () => undefined);
rmSync(readySocket, { force: true });
createServer((_, response) => response.writeHead(behaviours.includes("never-ready") ? 503 : 200).end()).listen(readySocket, () =>
  console.log("listening"),
);
