/** The example's ports are fixed in its YAML, so only one can run at a time. */
import { once } from "node:events";
import { readdirSync, readFileSync } from "node:fs";
import { createServer } from "node:net";
import { join } from "node:path";
import { AppError } from "../../core/error.ts";

/** Listeners of proxies, and where applications listen. */
const PORT = /number: (\d+)|defaultEndpoint: 127\.0\.0\.1:(\d+)/g;

/** Every port that a folder of the example's YAML names. */
function portsOf(config: string): readonly number[] {
  const texts = readdirSync(config).map((file) => readFileSync(join(config, file), "utf8"));
  return texts.flatMap((text) => [...text.matchAll(PORT)].map(([, listener, application]) => Number(listener ?? application)));
}

async function checkPort(port: number): Promise<void> {
  const server = createServer().listen(port, "127.0.0.1");
  try {
    await once(server, "listening");
  } catch (cause) {
    throw new AppError("address-in-use", "another process listens there already, and the example's ports are fixed", {
      where: `127.0.0.1:${port}`,
      help: "end it first: is it another `garrison demo`, or `garrison up examples/photo/mesh`?",
      cause,
    });
  }
  server.close();
  await once(server, "close");
}

/** Throws `address-in-use` where one of the ports is not free. */
export async function checkPorts(config: string): Promise<void> {
  for (const port of portsOf(config)) await checkPort(port);
}
