import { jsonLine } from "./authz/json-line.ts";
import type { Command } from "./command.ts";
import { EXIT } from "./exit.ts";
import { askMtls, MTLS_OPTIONS } from "./mtls/ask.ts";
import { formatMtlsStatus } from "./mtls/format.ts";

export const command: Command = {
  name: "mtls status",
  summary: "Shows by namespace and workload which ports take plaintext, and who still comes without identity.",
  options: MTLS_OPTIONS,
  examples: ["garrison mtls status", "garrison mtls status --since 24h --json"],
  run: async (parsed) => {
    const answer = await askMtls(parsed);
    const { since, truncated, unasked, namespaces } = answer;
    process.stdout.write(parsed.flag("json") ? jsonLine({ since, truncated, unasked, namespaces }) : formatMtlsStatus(answer));
    return EXIT.ok;
  },
};
