// A service that knows nothing of Garrison: it tells who its proxy says that called, and whom the gateway served.
import { createServer } from "node:http";

const server = createServer((request, response) => {
  const caller = request.headers["x-forwarded-client-cert"]?.split("URI=")[1] ?? "a stranger";
  response.end(`${request.method} ${request.url} by ${caller} for ${request.headers["x-forwarded-for"] ?? "nobody"}\n`);
});
server.listen(18290, "127.0.0.1", () => console.log("orders listens"));
process.on("SIGTERM", () => process.exit());
