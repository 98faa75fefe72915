/** An agent as a process of its own: its options as JSON in the only argument, its log as JSON lines on standard error. */
import { AGENT_SIGNALS, startAgent } from "../../src/agent/agent.ts";
import type { AgentOptions } from "../../src/agent/agent-options.ts";

const options = JSON.parse(process.argv[2] ?? "") as Omit<AgentOptions, "logger">;
const agent = await startAgent({
  ...options,
  logger: { log: (level, message, fields) => process.stderr.write(`${JSON.stringify({ level, message, fields: fields ?? {} })}\n`) },
});
for (const signal of AGENT_SIGNALS) process.on(signal, () => agent.signal(signal));
process.exitCode = await agent.done;
