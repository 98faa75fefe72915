/** Addresses for the listeners of an Envoy, which cannot choose a free port and tell: one address for each test process. */
import { once } from "node:events";
import { createServer } from "node:net";

/** Linux has all of 127.0.0.0/8 on its loopback interface; a process takes the address that its number stands for. */
export const LOOPBACK =
  process.platform === "linux" ? `127.${64 + ((process.pid >> 16) & 63)}.${(process.pid >> 8) & 255}.${process.pid & 255}` : "127.0.0.1";

let last = 20_000;

/** A port of `LOOPBACK`, below those that the system hands out by itself; never the same twice. */
export async function freePort(): Promise<number> {
  for (;;) {
    last += 1;
    const server = createServer();
    const bound = await new Promise<boolean>((resolve) => {
      server.once("error", () => resolve(false));
      server.listen(last, LOOPBACK, () => resolve(true));
    });
    if (!bound) continue;
    server.close();
    await once(server, "close");
    return last;
  }
}
