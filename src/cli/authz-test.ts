import { decodeTests } from "../analyze/test-case.ts";
import { AppError } from "../core/error.ts";
import { printable } from "../policy/decode/report.ts";
import { decodeFile } from "./authz/documents.ts";
import { jsonLine } from "./authz/json-line.ts";
import { openSource, SOURCE_OPTIONS } from "./authz/mesh-source.ts";
import { runTestsByEnvoy } from "./authz/run-envoy-tests.ts";
import { formatFailure, runTests, type TestResult } from "./authz/run-tests.ts";
import type { Command } from "./command.ts";
import { EXIT } from "./exit.ts";
import { chooseProxy, type FoundEnvoy } from "./find-envoy.ts";
import { JSON_OPTION, required } from "./options.ts";

const ENGINE_OPTION = {
  type: "value",
  value: "ENGINE",
  doc: "decision asks the decision engine; envoy starts a real Envoy, asks it, and holds its answers against the decision engine's",
  default: "decision",
} as const;

/** The Envoy to ask; undefined for the decision engine. Throws `invalid-argument`, `not-found`. */
async function engineOf(text: string): Promise<FoundEnvoy | undefined> {
  if (text === "decision") return undefined;
  if (text !== "envoy") throw new AppError("invalid-argument", `\`--engine ${text}\` is not known`, { help: "it is decision or envoy" });
  const found = await chooseProxy("envoy");
  return found.kind === "envoy" ? found : undefined;
}

function summaryOf(results: readonly TestResult[], envoy: FoundEnvoy | undefined): string {
  const count = (wanted: TestResult["result"]): number => results.filter(({ result }) => result === wanted).length;
  const skipped = count("skipped");
  const other = envoy === undefined ? "a real Envoy" : "the decision engine";
  const notAsked = skipped === 0 ? "" : `, ${skipped} that only ${other} can be asked`;
  const disagreed = results.filter(({ offline }) => offline !== undefined).length;
  const compared = disagreed === 0 ? ", the decision engine says the same" : `, the decision engine says otherwise of ${disagreed}`;
  const by = envoy === undefined ? "" : ` by Envoy ${envoy.version}${compared}`;
  return `${count("pass")} as expected, ${count("fail") + count("error")} not${notAsked}${by}`;
}

export const command: Command = {
  name: "authz test",
  summary:
    "Checks expectations: requests, and what must come of each by which rule. Ends with 0 where all is as expected, with 1 where not.",
  operands: "FILE",
  arity: [1, 1],
  options: { engine: ENGINE_OPTION, ...SOURCE_OPTIONS, json: { ...JSON_OPTION, doc: "print JSON, one result a line" } },
  examples: [
    "garrison authz test authz-tests.yaml -f examples/photo/mesh",
    "garrison authz test authz-tests.yaml -f examples/photo/mesh --engine envoy",
    "garrison authz test authz-tests.yaml --json",
  ],
  run: async (parsed) => {
    const tests = decodeFile(parsed.positionals[0] ?? "", "tests", decodeTests).flat();
    const envoy = await engineOf(required(parsed, "engine"));
    const source = await openSource(parsed);
    const results = envoy === undefined ? await runTests(source, tests) : await runTestsByEnvoy(envoy.path, source, tests);
    if (parsed.flag("json")) for (const result of results) process.stdout.write(jsonLine(result));
    else {
      for (const failure of results.map(formatFailure)) if (failure !== undefined) process.stdout.write(`${multiline(failure)}\n`);
      process.stdout.write(`${summaryOf(results, envoy)}\n`);
    }
    const isFine = ({ result, offline }: TestResult): boolean => (result === "pass" && offline === undefined) || result === "skipped";
    return results.every(isFine) ? EXIT.ok : EXIT.no;
  },
};

/** Names of tests are anyone's text. */
function multiline(text: string): string {
  return text.split("\n").map(printable).join("\n");
}
