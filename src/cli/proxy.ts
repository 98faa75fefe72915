import { readFileSync } from "node:fs";
import { AppError } from "../core/error.ts";
import { parseProxyBootstrap } from "../proxy/bootstrap.ts";
import { runProxy } from "../proxy/main.ts";
import type { Command } from "./command.ts";
import { EXIT } from "./exit.ts";
import { createLogger } from "./log.ts";
import { LOG_OPTION, logLevel, required } from "./options.ts";
import { endRequest } from "./signals.ts";

function readBootstrap(file: string): string {
  try {
    return readFileSync(file, "utf8");
  } catch (cause) {
    throw new AppError("not-found", "the bootstrap file cannot be read", {
      where: file,
      help: "the agent writes it: see `garrison run --help`",
      cause,
    });
  }
}

export const command: Command = {
  name: "proxy",
  summary: "Runs the embedded proxy. The agent starts it, as it would start Envoy.",
  options: {
    bootstrap: { type: "value", value: "FILE", doc: "what the agent wrote: whom to serve, and where to ask for the rest" },
    "log-level": LOG_OPTION,
  },
  examples: ["garrison run --workload photo-ns/photo-backend --proxy embedded"],
  run: async (parsed) => {
    const asked = endRequest();
    const proxy = await runProxy(parseProxyBootstrap(readBootstrap(required(parsed, "bootstrap"))), createLogger(logLevel(parsed)));
    await asked;
    await proxy.stop();
    return EXIT.ok;
  },
};
