import type { Command } from "./command.ts";
import { JWT_OPTION, runJwtStep } from "./jwt-rotation.ts";
import { JSON_OPTION, STATE_OPTION } from "./options.ts";
import { ROTATION_OPTIONS, runStep } from "./rotation.ts";

export const command: Command = {
  name: "ca activate",
  summary:
    "Lets the prepared authority sign from now on, or an old one again. Refused, with 1, while a connected proxy has not acknowledged that it trusts it.",
  operands: "[ID]",
  arity: [0, 1],
  options: { jwt: JWT_OPTION, ...ROTATION_OPTIONS, state: STATE_OPTION, json: JSON_OPTION },
  examples: ["garrison ca activate", "garrison ca activate 5f0c --dry-run"],
  run: (parsed) => (parsed.flag("jwt") ? runJwtStep(parsed, "activate") : runStep(parsed, "activate", parsed.positionals[0] ?? "")),
};
