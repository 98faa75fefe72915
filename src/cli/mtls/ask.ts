/** The question that `mtls status` and `mtls plan` put to a control plane. */
import { parseAuditFilter } from "../../audit/query-text.ts";
import type { MtlsAnswer } from "../../server/mtls.ts";
import { callAdmin, controlPlaneSocket } from "../admin-client.ts";
import type { OptionSpecs, ParsedArguments } from "../command.ts";
import { JSON_OPTION, required, STATE_OPTION } from "../options.ts";

export const MTLS_OPTIONS = {
  since: { type: "value", value: "TIME", doc: "what was recorded from a time, or so long ago: 12h, 7d", default: "7d" },
  json: JSON_OPTION,
  state: STATE_OPTION,
} as const satisfies OptionSpecs;

/** Throws as `callAdmin` does, and `invalid-argument` for a time that is none. */
export async function askMtls(parsed: ParsedArguments): Promise<MtlsAnswer> {
  const since = required(parsed, "since");
  parseAuditFilter({ since }, Date.now());
  const query = new URLSearchParams({ since });
  return (await callAdmin(controlPlaneSocket(required(parsed, "state")), "GET", `/v1/mtls?${query}`)) as MtlsAnswer;
}
