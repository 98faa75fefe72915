// What the three services share: where they listen, how they are told where others are, how they stop.
import process from "node:process";

/**
 * Where another service is, from Kubernetes' service variables (`PHOTO_BACKEND_SERVICE_HOST`, `PHOTO_BACKEND_SERVICE_PORT`),
 * which `garrison run` sets to the proxy's own listeners. There is no default: a guess would go around the proxy.
 * @param {string} service such as `photo-backend`
 * @param {string} [port] the name of one of the service's ports; without it, its first
 * @returns {{ host: string, port: number } | undefined} undefined when the environment does not tell
 */
export function findService(service, port) {
  const name = variableName(service);
  const host = process.env[`${name}_SERVICE_HOST`];
  const number = Number(process.env[`${name}_SERVICE_PORT${port === undefined ? "" : `_${variableName(port)}`}`]);
  return host && Number.isInteger(number) && number > 0 ? { host, port: number } : undefined;
}

/**
 * Like `findService`, and ends the process where there is no answer.
 * @param {string} service
 * @returns {{ host: string, port: number }}
 */
export function requireService(service) {
  const found = findService(service);
  if (found !== undefined) return found;
  const name = variableName(service);
  console.error(`set ${name}_SERVICE_HOST and ${name}_SERVICE_PORT to where ${service} is, or start this with \`garrison run\``);
  process.exit(1);
}

/** @param {string} name */
function variableName(name) {
  return name.toUpperCase().replaceAll("-", "_");
}

/**
 * Listens on a loopback port (0 takes a free one) and says so in one line.
 * @param {import("node:net").Server} server
 * @param {string} name
 * @param {number} port
 */
export function listenOnLoopback(server, name, port) {
  server.on("error", (error) => fail(name, error));
  server.listen({ host: "127.0.0.1", port }, () => {
    const address = server.address();
    console.log(`${name}: listening on 127.0.0.1:${typeof address === "object" ? address?.port : ""}`);
  });
}

/**
 * @param {string} name
 * @param {Error} error
 */
export function fail(name, error) {
  console.error(`${name}: ${error.message}`);
  process.exit(1);
}

/**
 * The port to listen on: `PORT`, or the example's own.
 * @param {number} usual
 */
export function ownPort(usual) {
  return process.env.PORT === undefined ? usual : Number(process.env.PORT);
}

/**
 * Ends the process on SIGTERM and SIGINT, after `close`.
 * @param {() => void} close
 */
export function stopOnSignal(close) {
  for (const signal of ["SIGTERM", "SIGINT"]) {
    process.once(signal, () => {
      close();
      process.exit(0);
    });
  }
}
