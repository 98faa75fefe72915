import { jsonLine } from "./authz/json-line.ts";
import type { Command } from "./command.ts";
import { EXIT } from "./exit.ts";
import { askMtls, MTLS_OPTIONS } from "./mtls/ask.ts";
import { formatMtlsPlan } from "./mtls/format.ts";

export const command: Command = {
  name: "mtls plan",
  summary: "Shows the order in which namespaces can go STRICT, and what would break today.",
  options: MTLS_OPTIONS,
  examples: ["garrison mtls plan", "garrison mtls plan --since 30d"],
  run: async (parsed) => {
    const answer = await askMtls(parsed);
    const { since, truncated, unasked, plan } = answer;
    process.stdout.write(parsed.flag("json") ? jsonLine({ since, truncated, unasked, plan }) : formatMtlsPlan(answer));
    return EXIT.ok;
  },
};
