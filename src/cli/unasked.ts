/** An answer that lacks what some replicas of the control plane have. */
import { EXIT, type ExitCode } from "./exit.ts";

/** Tells it on stderr, whoever reads the answer; the exit code says it too. */
export function tellUnasked(unasked: readonly string[], missing: string): ExitCode {
  for (const why of unasked) process.stderr.write(`another replica of the control plane could not be asked, so that ${missing}: ${why}\n`);
  return unasked.length === 0 ? EXIT.ok : EXIT.unknown;
}
