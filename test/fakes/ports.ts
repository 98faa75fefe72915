/** Ports of the loopback interface, for what has to be told where to listen: no two test processes are given the same one. */
import { once } from "node:events";
import { createServer, type Server } from "node:net";

/** Below what systems take the ports of outgoing connections from. */
const [LOWEST, HIGHEST] = [20_100, 32_000] as const;
/** Whoever listens on the first port of a block has the others to give; the system ends that with the process, however that ends. */
const BLOCK = 100;

function tryListen(port: number): Promise<Server | undefined> {
  const server = createServer();
  const listening = once(server, "listening").then(
    () => server,
    () => undefined,
  );
  server.listen(port, "127.0.0.1");
  return listening;
}

async function isFree(port: number): Promise<boolean> {
  const server = await tryListen(port);
  if (server === undefined) return false;
  server.close();
  await once(server, "close");
  return true;
}

/** A block that nobody has yet, as the ports in it. */
async function takeBlock(): Promise<number[]> {
  const starts = Array.from({ length: Math.floor((HIGHEST - LOWEST) / BLOCK) }, (_, index) => LOWEST + index * BLOCK);
  const begin = Math.floor(Math.random() * starts.length);
  for (const start of [...starts.slice(begin), ...starts.slice(0, begin)]) {
    const turn = await tryListen(start);
    if (turn === undefined) continue;
    turn.unref();
    return Array.from({ length: BLOCK - 1 }, (_, index) => start + 1 + index);
  }
  throw new Error(`all ports from ${LOWEST} to ${HIGHEST} are given`);
}

let block: Promise<number[]> | undefined;

/** A free port that no outgoing connection takes by chance, each time another one. Rejects when there are no more. */
export async function pickPort(): Promise<number> {
  for (;;) {
    block ??= takeBlock();
    const mine = block;
    const port = (await mine).shift();
    if (port === undefined) {
      if (block === mine) block = undefined;
    } else if (await isFree(port)) return port;
  }
}
