import type { FoundCertificate } from "../server/ledger.ts";
import { callAdmin, controlPlaneSocket } from "./admin-client.ts";
import { jsonLine } from "./authz/json-line.ts";
import { type Command, columns } from "./command.ts";
import { EXIT } from "./exit.ts";
import { JSON_OPTION, required, STATE_OPTION } from "./options.ts";

const time = (milliseconds: number): string => new Date(milliseconds).toISOString();

function describe(certificate: FoundCertificate): string {
  const { serial, identity, caller, state, recordedAt, notBefore, notAfter, sha256, leaf, revoked, keyId, authority, trusted, replica } =
    certificate;
  const rows: (readonly [string, string])[] = [
    ["serial", serial],
    ["identity", identity],
    ["state", state],
    ["caller proved by", caller],
    ["recorded", time(recordedAt)],
    ["valid", `${time(notBefore)} to ${time(notAfter)}${notAfter < Date.now() ? " (expired)" : ""}`],
  ];
  if (revoked !== undefined) rows.push(["revoked", `${time(revoked.at)}: ${revoked.reason}`]);
  if (authority !== undefined) rows.push(["authority", `${authority}${trusted === false ? ", which nobody trusts any more" : ""}`]);
  if (keyId !== undefined) rows.push(["identifier of its key", keyId]);
  if (sha256 !== undefined) rows.push(["sha256 of its DER", sha256]);
  if (leaf !== undefined) rows.push(["entry of the log", String(leaf)]);
  if (replica !== undefined) rows.push(["issued by replica", replica]);
  return `${columns(rows)}\n`;
}

export const command: Command = {
  name: "ca show",
  summary: "Shows one certificate of the ledger, whichever replica issued it.",
  operands: "SERIAL",
  arity: [1, 1],
  options: { state: STATE_OPTION, json: JSON_OPTION },
  examples: ["garrison ca show 43a014aa2055bac23f716608b38d8c7f"],
  run: async (parsed) => {
    const query = new URLSearchParams({ serial: parsed.positionals[0] ?? "" });
    const record = (await callAdmin(controlPlaneSocket(required(parsed, "state")), "GET", `/v1/ca/show?${query}`)) as FoundCertificate;
    process.stdout.write(parsed.flag("json") ? jsonLine(record) : describe(record));
    return EXIT.ok;
  },
};
