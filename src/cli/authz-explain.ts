import { type Answer, answer } from "../analyze/answer.ts";
import { EXPLAINING } from "./authz/engine.ts";
import { formatAnswer } from "./authz/format-answer.ts";
import { jsonLine } from "./authz/json-line.ts";
import { openSource, SOURCE_OPTIONS } from "./authz/mesh-source.ts";
import { REQUEST_OPTIONS, requestOf } from "./authz/request-options.ts";
import type { Command } from "./command.ts";
import { EXIT, type ExitCode } from "./exit.ts";
import { JSON_OPTION } from "./options.ts";

/** Of a service, it is allowed where every workload behind it allows it. */
function exitOf(effects: readonly Answer["effect"][]): ExitCode {
  if (effects.every((effect) => effect === "allow")) return EXIT.ok;
  return effects.every((effect) => effect === "allow" || effect === "unknown") ? EXIT.unknown : EXIT.no;
}

export const command: Command = {
  name: "authz explain",
  summary:
    "Says what would come of a request at a workload, which rule decides, and what the others miss. Ends with 0 where it is allowed, with 1 where not, with 5 where it hangs on what nobody here knows.",
  operands: "WORKLOAD",
  arity: [1, 1],
  options: { ...REQUEST_OPTIONS, ...SOURCE_OPTIONS, json: { ...JSON_OPTION, doc: "print JSON, one object a line for each workload" } },
  examples: [
    "garrison authz explain photo-ns/photo-backend -f examples/photo/mesh --from photo-ns/photo-frontend --path /photos",
    "garrison authz explain datastore-ns/datastore --from plaintext",
  ],
  run: async (parsed) => {
    const views = await (await openSource(parsed))(parsed.positionals[0] ?? "");
    const request = requestOf(parsed);
    const answers = views.map((view) => answer(EXPLAINING, view, request));
    const texts = answers.map((each) => (parsed.flag("json") ? jsonLine(each) : formatAnswer(each)));
    process.stdout.write(texts.join(parsed.flag("json") ? "" : "\n"));
    return exitOf(answers.map(({ effect }) => effect));
  },
};
