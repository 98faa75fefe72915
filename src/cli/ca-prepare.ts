import type { Command } from "./command.ts";
import { JWT_OPTION, runJwtStep } from "./jwt-rotation.ts";
import { JSON_OPTION, STATE_OPTION } from "./options.ts";
import { ROTATION_OPTIONS, runStep } from "./rotation.ts";

export const command: Command = {
  name: "ca prepare",
  summary:
    "Makes a new authority and tells everybody to trust it; it signs nothing yet. Ends with 1 where a connected proxy has not acknowledged it.",
  options: { jwt: JWT_OPTION, "dry-run": ROTATION_OPTIONS["dry-run"], state: STATE_OPTION, json: JSON_OPTION },
  examples: ["garrison ca prepare", "garrison ca prepare --jwt"],
  run: (parsed) => (parsed.flag("jwt") ? runJwtStep(parsed, "prepare") : runStep(parsed, "prepare", "")),
};
