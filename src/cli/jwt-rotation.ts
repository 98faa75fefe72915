/** A step of the rotation of the keys that sign JWT-SVIDs, as its commands run and show it. */
import { AppError } from "../core/error.ts";
import type { JwtRotationAnswer, JwtRotationRequest, JwtRotationStep } from "../server/jwt-rotation.ts";
import { callAdmin, controlPlaneSocket } from "./admin-client.ts";
import { jsonLine } from "./authz/json-line.ts";
import type { OptionSpec, ParsedArguments } from "./command.ts";
import { EXIT, type ExitCode } from "./exit.ts";
import { required } from "./options.ts";

export const JWT_OPTION = {
  type: "flag",
  doc: "the key that signs JWT-SVIDs, and not the authority",
} as const satisfies OptionSpec;

const DID = {
  prepare: (kid: string) => `key ${kid} is published, and signs in a day or when it is activated`,
  activate: (kid: string) => `key ${kid} signs JWT-SVIDs from now on`,
  revoke: (kid: string) => `JWT-SVIDs of older keys are refused; key ${kid} signs`,
} as const satisfies Record<JwtRotationStep, (kid: string) => string>;

function describe({ step, kid, connected, waiting }: JwtRotationAnswer): string {
  const first = kid === "" ? "nothing was done: `--force` does it all the same" : DID[step](kid);
  const known = `acknowledged by ${connected - waiting.length} of ${connected} connected proxies`;
  return [first, known, ...waiting.map((workload) => `  not yet: ${workload}`), ""].join("\n");
}

/** Runs the step and shows what came of it. Ends with 1 where it was refused, or a connected proxy has not acknowledged it. */
export async function runJwtStep(parsed: ParsedArguments, step: JwtRotationStep): Promise<ExitCode> {
  if (parsed.flag("dry-run") || parsed.positionals.length > 0)
    throw new AppError("invalid-argument", "`--jwt` goes with neither `--dry-run` nor the name of an authority");
  const request: JwtRotationRequest = { step, force: step === "activate" && parsed.flag("force") };
  const socket = controlPlaneSocket(required(parsed, "state"));
  const answer = (await callAdmin(socket, "POST", "/v1/ca/rotate-jwt", request)) as JwtRotationAnswer;
  process.stdout.write(parsed.flag("json") ? jsonLine(answer) : describe(answer));
  return answer.kid !== "" && answer.waiting.length === 0 ? EXIT.ok : EXIT.no;
}
