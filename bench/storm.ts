/**
 * Agents that all start at one moment, each with a key, a token and a connection of its own, against a `garrison serve` of default flags; then all of
 * them renew at one moment. How long until the last has its certificate, how often they asked, and what the server's memory came to.
 * `node bench/storm.ts [AGENTS]`: 10,000 without a number.
 */
import { CertificateManager } from "../src/agent/certificate-manager.ts";
import { systemTimers } from "../src/agent/timers.ts";
import { systemClock } from "../src/core/clock.ts";
import { silentLogger } from "../src/core/logger.ts";
import { Fleet } from "./fleet.ts";
import { print } from "./harness.ts";

const AGENTS = Number(process.argv[2] ?? 10_000);
const fleet = new Fleet(AGENTS);
let attempts = 0;

function manage(name: string): CertificateManager {
  const request = fleet.requestOf(name);
  const counted: typeof request = (current) => {
    attempts += 1;
    return request(current);
  };
  return new CertificateManager({ request: counted, clock: systemClock, timers: systemTimers, random: Math.random, logger: silentLogger });
}

/** Until every agent has a certificate that it has not had before; seconds for half of them, for 99 in 100, and for the last. */
async function wave(what: string, managers: readonly CertificateManager[], begin: (manager: CertificateManager) => void): Promise<void> {
  const began = performance.now();
  attempts = 0;
  const times: number[] = [];
  const certified = managers.map((manager) => {
    const { promise, resolve } = Promise.withResolvers<void>();
    const cancel = manager.subscribe(() => {
      cancel();
      times.push((performance.now() - began) / 1000);
      resolve();
    });
    return promise;
  });
  for (const manager of managers) begin(manager);
  await Promise.all(certified);
  const at = (share: number) => Number((times[Math.ceil(times.length * share) - 1] ?? Number.NaN).toFixed(1));
  print({
    bench: "storm",
    what,
    agents: AGENTS,
    seconds: { half: at(0.5), p99: at(0.99), last: at(1) },
    perSecond: Math.round(AGENTS / at(1)),
    attemptsEach: Number((attempts / AGENTS).toFixed(2)),
    serverMB: fleet.memory(),
  });
}

// Timers of agents keep no process alive.
const alive = setInterval(() => undefined, 1_000);
try {
  await fleet.start();
  const managers = fleet.names.map(manage);
  await wave("all start", managers, (manager) => manager.start());
  await wave("all renew", managers, (manager) => void manager.renew().catch(() => undefined));
  for (const manager of managers) manager.stop();
} finally {
  clearInterval(alive);
  await fleet.stop();
}
