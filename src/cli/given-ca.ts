/** The options by which an operator names a CA that is not made here. */
import type { ParsedArguments } from "./command.ts";

const OPTIONS = ["ca-folder", "ca-pkcs11", "ca-upstream"] as const;

/** The first of them that is given; undefined where none is. */
export function givenCa(parsed: ParsedArguments): (typeof OPTIONS)[number] | undefined {
  return OPTIONS.find((name) => parsed.value(name) !== undefined);
}
