import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { command } from "./ca-revoke.ts";
import { parseCommandLine } from "./command.ts";

/** No control plane is here: what is well asked ends by its absence. */
const run = (...args: readonly string[]) => command.run(parseCommandLine(command, [...args, "--state", "/nowhere"]));

describe("garrison ca revoke", () => {
  for (const args of [
    [],
    ["--serial", "4a", "--jwt"],
    ["--serial", "4a", "--identity", "shop/client"],
    ["--identity", "shop/client", "--authority", "ab"],
    ["--jwt", "--authority", "ab"],
    ["--jwt", "--force"],
    ["--jwt", "--reason", "keyCompromise"],
    ["--jwt", "--dry-run"],
    ["--serial", "4a", "--force"],
    ["--serial", "4a", "--dry-run"],
    ["--key", "0".repeat(40), "--dry-run"],
    ["--authority", ""],
  ])
    test(`refuses \`${args.join(" ")}\`, of which something would have no effect`, async () => {
      await assert.rejects(run(...args), { code: "invalid-argument" });
    });

  for (const args of [
    ["--serial", "4a", "--reason", "keyCompromise"],
    ["--identity", "shop/client", "--force"],
    ["--key", "0".repeat(40)],
    ["--authority", "ab", "--dry-run", "--force", "--reason", "superseded"],
    ["--jwt"],
  ])
    test(`asks the control plane for \`${args.join(" ")}\``, async () => {
      await assert.rejects(run(...args), (error: { readonly code?: string }) => error.code !== "invalid-argument");
    });
});
