import type { RevocationsAnswer } from "../ca/http.ts";
import { AppError } from "../core/error.ts";
import { callAdmin, controlPlaneSocket } from "./admin-client.ts";
import { jsonLine } from "./authz/json-line.ts";
import type { Command } from "./command.ts";
import { EXIT } from "./exit.ts";
import { JSON_OPTION, required, STATE_OPTION } from "./options.ts";

const time = (milliseconds: number): string => new Date(milliseconds).toISOString();

function describe({ certificates, blocks }: RevocationsAnswer): string {
  const lines = [
    ...certificates.map(
      ({ serial, identity, revokedAt, reason, notAfter }) =>
        `${time(revokedAt)} certificate ${serial} ${identity}: ${reason}, expires ${time(notAfter)}`,
    ),
    ...blocks.map(({ kind, value, since, reason }) => `${time(since)} ${kind} ${value}: ${reason}, gets no certificate`),
  ];
  return lines.length === 0 ? "nothing is revoked\n" : `${lines.join("\n")}\n`;
}

export const command: Command = {
  name: "ca revocations",
  summary:
    "Lists certificates that are revoked and have not expired, and identities and keys that get none. With --crl, the signed list (RFC 5280).",
  options: { crl: { type: "flag", doc: "print the certificate revocation list as PEM" }, state: STATE_OPTION, json: JSON_OPTION },
  examples: ["garrison ca revocations", "garrison ca revocations --crl > list.pem && openssl crl -in list.pem -noout -text"],
  run: async (parsed) => {
    if (parsed.flag("crl") && parsed.flag("json"))
      throw new AppError("invalid-argument", "`--crl` prints PEM: `--json` does not go with it", { help: "leave one of them out" });
    const socket = controlPlaneSocket(required(parsed, "state"));
    if (parsed.flag("crl")) {
      const { crl } = (await callAdmin(socket, "GET", "/v1/ca/crl")) as { crl: string };
      process.stdout.write(crl);
      return EXIT.ok;
    }
    const answer = (await callAdmin(socket, "GET", "/v1/ca/revocations")) as RevocationsAnswer;
    process.stdout.write(parsed.flag("json") ? jsonLine(answer) : describe(answer));
    return EXIT.ok;
  },
};
