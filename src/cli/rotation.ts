/** A step of the authority's rotation, as its commands run and show it. */
import type { RotationAnswer } from "../server/rotation.ts";
import type { RotationStep } from "../server/rotation-checks.ts";
import { callAdmin, controlPlaneSocket } from "./admin-client.ts";
import { jsonLine } from "./authz/json-line.ts";
import type { OptionSpec, ParsedArguments } from "./command.ts";
import { EXIT, type ExitCode } from "./exit.ts";
import { required } from "./options.ts";

export const ROTATION_OPTIONS = {
  force: { type: "flag", doc: "do it although it cuts somebody off" },
  "dry-run": { type: "flag", doc: "say whom it concerns and whom it would cut off, and do nothing" },
} as const satisfies Readonly<Record<string, OptionSpec>>;

const count = (number: number, one: string, many = `${one}s`) => (number === 1 ? `1 ${one}` : `${number} ${many}`);

const WOULD = {
  prepare: "would be prepared",
  activate: "would sign from now on",
  taint: "would be tainted",
  revoke: "would be revoked",
} as const;
const DID = { prepare: "is prepared", activate: "signs from now on", taint: "is tainted", revoke: "is revoked" } as const;
const FOLLOWED = {
  prepare: "trusted by",
  activate: "trusted by",
  taint: "its certificates are replaced on",
  revoke: "trusted no more by",
} as const satisfies Record<RotationStep, string>;

function notRenewed({ controlPlane: { problem } }: RotationAnswer): readonly string[] {
  return problem === "" ? [] : [`the control plane's own certificate was NOT renewed: ${problem}`];
}

function concerns(answer: RotationAnswer): readonly string[] {
  const { step, concerned, controlPlane, identities, cutOff } = answer;
  const certificates = identities.reduce((sum, { certificates: own }) => sum + own, 0);
  const unexpired =
    identities.length === 0
      ? ""
      : `, and ${count(certificates, "unexpired certificate")} of ${count(identities.length, "identity", "identities")}`;
  const lines = identities.map(({ identity, certificates: own, until }) => `  ${identity}: ${own}, until ${new Date(until).toISOString()}`);
  const proxies =
    step === "taint" || step === "revoke"
      ? `${count(concerned.length, "connected proxy", "connected proxies")} with a certificate of it`
      : count(concerned.length, "connected proxy", "connected proxies");
  return [
    `concerns ${proxies}${unexpired}`,
    ...concerned.map((workload) => `  ${workload}`),
    ...(controlPlane.concerned ? ["  the control plane's own certificate"] : []),
    ...notRenewed(answer),
    ...lines,
    cutOff.length === 0 ? "cuts nobody off" : "cuts off:",
    ...cutOff.map(({ workload, identity, why }) => `  ${workload === "" ? identity : workload}: ${why}`),
  ];
}

function outcome(answer: RotationAnswer): readonly string[] {
  const { step, connected, waiting, revoked, cutOff, tookMs } = answer;
  const took = `${connected - waiting.length} of ${count(connected, "connected proxy", "connected proxies")} after ${tookMs} ms`;
  return [
    `${FOLLOWED[step]} ${took}`,
    ...waiting.map((workload) => `  not yet: ${workload}`),
    ...notRenewed(answer),
    ...(cutOff.length === 0
      ? []
      : ["cut off:", ...cutOff.map(({ workload, identity, why }) => `  ${workload === "" ? identity : workload}: ${why}`)]),
    ...(revoked === 0 ? [] : [`${count(revoked, "certificate")} revoked with it`]),
  ];
}

function describe(answer: RotationAnswer, dryRun: boolean): string {
  const { step, authority, done, cutOff } = answer;
  const name = authority === "" ? "a new authority" : `authority ${authority}`;
  if (done) return [`${name} ${DID[step]}`, ...outcome(answer), ""].join("\n");
  const refused = dryRun || cutOff.length === 0 ? [] : ["nothing was done: `--force` does it all the same"];
  return [`${name} ${WOULD[step]}`, ...concerns(answer), ...refused, ""].join("\n");
}

/** Runs the step and shows what came of it. Ends with 1 where it was refused, would be, or a connected proxy has not followed. */
export async function runStep(parsed: ParsedArguments, step: RotationStep, authority: string, reason?: string): Promise<ExitCode> {
  const dryRun = parsed.flag("dry-run");
  const force = step !== "prepare" && parsed.flag("force");
  const request = { step, authority, dryRun, force, ...(reason === undefined ? {} : { reason }) };
  const socket = controlPlaneSocket(required(parsed, "state"));
  const answer = (await callAdmin(socket, "POST", "/v1/ca/rotate", request)) as RotationAnswer;
  process.stdout.write(parsed.flag("json") ? jsonLine(answer) : describe(answer, dryRun));
  if (dryRun) return answer.cutOff.length === 0 ? EXIT.ok : EXIT.no;
  return answer.done && answer.waiting.length === 0 && answer.controlPlane.problem === "" ? EXIT.ok : EXIT.no;
}
