/**
 * Agents that all start at one moment, each with a key, a token and a connection of its own, against a `garrison serve` of default flags; then all of
 * them renew at one moment. How long until the last has its certificate, how often they asked, and what the server spent on it. The agents are played
 * by one program in Go, with the patience of ours, so that the server's time is measured and not theirs; the times hold for all on one machine.
 * `node bench/storm.ts [AGENTS]`: 10,000 without a number. Needs Go.
 */
import { spawn } from "node:child_process";
import { once } from "node:events";
import { createInterface } from "node:readline";
import { buildClient } from "./clients/build.ts";
import { Fleet } from "./fleet.ts";
import { print } from "./harness.ts";

/** A line of the program's. */
interface Wave {
  readonly what: string;
  /** Seconds for half of them, for 99 in 100, and for the last. */
  readonly half: number;
  readonly p99: number;
  readonly last: number;
  readonly attempts: number;
  /** How often an attempt failed, by why. */
  readonly failures: Readonly<Record<string, number>>;
  readonly clientCpuSeconds: number;
}

const AGENTS = Number(process.argv[2] ?? 10_000);
const round = (value: number): number => Number(value.toFixed(1));

const program = buildClient("agents");
const fleet = new Fleet(AGENTS);
try {
  await fleet.start();
  const { host, port, rootCertificate } = fleet.controlPlane;
  const agents = spawn(program, ["-url", `https://${host}:${port}`, "-roots", rootCertificate], { stdio: ["pipe", "pipe", "inherit"] });
  const ended = once(agents, "exit");
  agents.stdin.end(fleet.names.map((name) => JSON.stringify({ uri: fleet.identity(name), token: fleet.token(name) })).join("\n"));
  let cpu = fleet.cpu();
  for await (const line of createInterface(agents.stdout)) {
    const { what, half, p99, last, attempts, failures, clientCpuSeconds } = JSON.parse(line) as Wave;
    print({
      bench: "storm",
      what,
      agents: AGENTS,
      seconds: { half: round(half), p99: round(p99), last: round(last) },
      perSecond: Math.round(AGENTS / last),
      attemptsEach: round(attempts / AGENTS),
      failures,
      serverCpuSeconds: round(fleet.cpu() - cpu),
      clientCpuSeconds: round(clientCpuSeconds),
      serverMB: fleet.memory(),
    });
    cpu = fleet.cpu();
  }
  const [code] = await ended;
  if (code !== 0) throw new Error(`the agents ended with ${code}`);
} finally {
  await fleet.stop();
}
