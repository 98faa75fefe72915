import { decodeTests } from "../analyze/test-case.ts";
import { printable } from "../policy/decode/report.ts";
import { decodeFile } from "./authz/documents.ts";
import { jsonLine } from "./authz/json-line.ts";
import { openSource, SOURCE_OPTIONS } from "./authz/mesh-source.ts";
import { formatFailure, runTests, type TestResult } from "./authz/run-tests.ts";
import type { Command } from "./command.ts";
import { EXIT } from "./exit.ts";
import { JSON_OPTION } from "./options.ts";

function summaryOf(results: readonly TestResult[]): string {
  const count = (wanted: TestResult["result"]): number => results.filter(({ result }) => result === wanted).length;
  const skipped = count("skipped");
  const notAsked = skipped === 0 ? "" : `, ${skipped} that only a real Envoy can be asked`;
  return `${count("pass")} as expected, ${count("fail") + count("error")} not${notAsked}`;
}

export const command: Command = {
  name: "authz test",
  summary:
    "Checks expectations: requests, and what must come of each by which rule. Ends with 0 where all is as expected, with 1 where not.",
  operands: "FILE",
  arity: [1, 1],
  options: { ...SOURCE_OPTIONS, json: { ...JSON_OPTION, doc: "print JSON, one result a line" } },
  examples: ["garrison authz test authz-tests.yaml -f examples/photo/mesh", "garrison authz test authz-tests.yaml --json"],
  run: async (parsed) => {
    const tests = decodeFile(parsed.positionals[0] ?? "", "tests", decodeTests).flat();
    const results = await runTests(await openSource(parsed), tests);
    if (parsed.flag("json")) for (const result of results) process.stdout.write(jsonLine(result));
    else {
      for (const failure of results.map(formatFailure)) if (failure !== undefined) process.stdout.write(`${multiline(failure)}\n`);
      process.stdout.write(`${summaryOf(results)}\n`);
    }
    return results.every(({ result }) => result === "pass" || result === "skipped") ? EXIT.ok : EXIT.no;
  },
};

/** Names of tests are anyone's text. */
function multiline(text: string): string {
  return text.split("\n").map(printable).join("\n");
}
