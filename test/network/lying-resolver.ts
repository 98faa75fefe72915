/** `node lying-resolver.ts ADDRESS`: a DNS server to which every name has this address, and a server there of everything that believes it. */
import { createServer } from "node:net";
import { startFakeDns } from "../fakes/dns-server.ts";

const [, , address = ""] = process.argv;

await startFakeDns(address, 53, ({ name, type }) => {
  console.log(`asked ${type} ${name.toLowerCase()}`);
  return [{ answers: type === "A" ? [{ type: "A", name, ttl: 300, data: address }] : [] }];
});
createServer((socket) => {
  socket.on("error", () => undefined);
  socket.on("data", (bytes) => {
    console.log(`got ${JSON.stringify(bytes.toString("latin1"))}`);
    socket.end("+LIES\r\n");
  });
}).listen(6379, address, () => console.log("ready"));
