import { existsSync, readFileSync } from "node:fs";
import type { RevocationRequest } from "../ca/revoke.ts";
import { AppError } from "../core/error.ts";
import type { RevocationAnswer } from "../server/revocation.ts";
import { parseCertificates } from "../x509/certificate.ts";
import { hexOf } from "../x509/hex.ts";
import { keyIdentifier } from "../x509/public-key.ts";
import { REVOCATION_REASONS } from "../x509/revocation-list.ts";
import { callAdmin, controlPlaneSocket } from "./admin-client.ts";
import { jsonLine } from "./authz/json-line.ts";
import type { Command, ParsedArguments } from "./command.ts";
import { EXIT } from "./exit.ts";
import { runJwtStep } from "./jwt-rotation.ts";
import { JSON_OPTION, required, STATE_OPTION } from "./options.ts";
import { ROTATION_OPTIONS, runStep } from "./rotation.ts";

const KEY_ID = /^[0-9a-f]{40}$/i;

/** A key by the certificate that holds it, or by its identifier. */
function keyIdOf(text: string): string {
  if (!existsSync(text)) {
    if (KEY_ID.test(text)) return text;
    throw new AppError("invalid-argument", "there is no such file, and it is not the identifier of a key (40 hex digits)", { where: text });
  }
  const [leaf] = parseCertificates(readFileSync(text, "utf8"));
  if (leaf === undefined) throw new AppError("invalid-argument", "there is no certificate in it", { where: text });
  return hexOf(keyIdentifier(leaf.spki));
}

/** The one thing that is named. Throws `invalid-argument`. */
function targetOf(parsed: ParsedArguments): Pick<RevocationRequest, "kind" | "value"> {
  const named = (["serial", "identity", "key"] as const).flatMap((kind) => {
    const value = parsed.value(kind);
    return value === undefined ? [] : [{ kind, value: kind === "key" ? keyIdOf(value) : value }];
  });
  const [target, ...others] = named;
  if (target !== undefined && others.length === 0) return target;
  throw new AppError("invalid-argument", "name one of `--serial`, `--identity`, `--key` and `--authority`", {
    help: "see `garrison ca revoke --help`",
  });
}

/** The authority that is named, and nothing else with it. Throws `invalid-argument`. */
function authorityOf(parsed: ParsedArguments): string | undefined {
  const authority = parsed.value("authority");
  const others = ["serial", "identity", "key"].filter((name) => parsed.value(name) !== undefined);
  if (authority === undefined && parsed.flag("dry-run")) throw new AppError("invalid-argument", "`--dry-run` is for `--authority`");
  if (authority === undefined && parsed.flag("force") && parsed.value("identity") === undefined)
    throw new AppError("invalid-argument", "`--force` is for `--authority` and `--identity`");
  if (authority === "" || (authority !== undefined && others.length > 0))
    throw new AppError("invalid-argument", "`--authority` needs the beginning of an identifier, and nothing else is revoked with it");
  return authority;
}

function describe({ revoked, blocked, proxies, unlisted, tookMs }: RevocationAnswer): string {
  const certificates = revoked.map(
    ({ serial, identity, notAfter }) => `  ${serial} ${identity}, until ${new Date(notAfter).toISOString()}`,
  );
  const blocks = blocked === undefined ? [] : [`${blocked.kind} ${blocked.value} gets no certificate from now on`];
  const waiting = proxies.waiting.map((proxy) => `  not yet: ${proxy}`);
  return [
    `${revoked.length === 1 ? "1 certificate" : `${revoked.length} certificates`} revoked`,
    ...certificates,
    ...blocks,
    `in force on ${proxies.acknowledged} of ${proxies.connected} connected proxies after ${Math.round(tookMs)} ms`,
    ...waiting,
    ...(unlisted === "" ? [] : [`servers that prove themselves by it are called by Envoys all the same: ${unlisted}`]),
    "",
  ].join("\n");
}

export const command: Command = {
  name: "ca revoke",
  summary:
    "Revokes certificates, or an authority with all that it signed: every proxy refuses them at once, and they are not renewed. Ends with 1 where a connected proxy has not acknowledged it, or where it would cut somebody off and is not forced.",
  options: {
    serial: { type: "value", value: "HEX", doc: "this certificate" },
    identity: {
      type: "value",
      value: "WHO",
      doc: "NAMESPACE/SERVICE-ACCOUNT or a SPIFFE ID: all its certificates, and it gets no other until `ca unblock`",
    },
    key: {
      type: "value",
      value: "FILE",
      doc: "a certificate, or the identifier of its key: all certificates of the key, and it gets no other",
    },
    authority: {
      type: "value",
      value: "ID",
      doc: "an old or tainted authority, by the beginning of its identifier: nobody trusts it from now on",
    },
    jwt: { type: "flag", doc: "the keys that signed JWT-SVIDs before the one of now" },
    ...ROTATION_OPTIONS,
    force: {
      type: "flag",
      doc: "the authority although that cuts somebody off; the identity although nobody is known by it, or it is the control plane's own",
    },
    reason: { type: "value", value: "REASON", doc: Object.keys(REVOCATION_REASONS).join(", "), default: "unspecified" },
    state: STATE_OPTION,
    json: JSON_OPTION,
  },
  examples: [
    "garrison ca revoke --serial 43a014aa2055bac23f716608b38d8c7f --reason keyCompromise",
    "garrison ca revoke --identity photo-ns/photo-frontend",
    "garrison ca revoke --authority 5f0c --dry-run",
  ],
  run: async (parsed) => {
    if (parsed.flag("jwt")) return runJwtStep(parsed, "revoke");
    const authority = authorityOf(parsed);
    if (authority !== undefined) return runStep(parsed, "revoke", authority);
    const request = { ...targetOf(parsed), reason: required(parsed, "reason"), force: parsed.flag("force") };
    const answer = (await callAdmin(controlPlaneSocket(required(parsed, "state")), "POST", "/v1/ca/revoke", request)) as RevocationAnswer;
    process.stdout.write(parsed.flag("json") ? jsonLine(answer) : describe(answer));
    return answer.proxies.waiting.length === 0 ? EXIT.ok : EXIT.no;
  },
};
