import type { Command } from "./command.ts";
import { JSON_OPTION, STATE_OPTION } from "./options.ts";
import { ROTATION_OPTIONS, runStep } from "./rotation.ts";

export const command: Command = {
  name: "ca taint",
  summary:
    "Has every certificate of an old authority replaced now, spread over a moment so that the CA is not stormed. Ends with 1 where a connected proxy still has one.",
  operands: "[ID]",
  arity: [0, 1],
  options: { ...ROTATION_OPTIONS, state: STATE_OPTION, json: JSON_OPTION },
  examples: ["garrison ca taint", "garrison ca taint 5f0c --dry-run"],
  run: (parsed) => runStep(parsed, "taint", parsed.positionals[0] ?? ""),
};
