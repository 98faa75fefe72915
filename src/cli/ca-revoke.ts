import { createPublicKey } from "node:crypto";
import { existsSync } from "node:fs";
import { AppError } from "../core/error.ts";
import type { RevocationAnswer } from "../server/revocation.ts";
import { parseCertificates } from "../x509/certificate.ts";
import { hexOf } from "../x509/hex.ts";
import { keyIdentifier } from "../x509/public-key.ts";
import { REVOCATION_REASONS } from "../x509/revocation-list.ts";
import { callAdmin, controlPlaneSocket } from "./admin-client.ts";
import { jsonLine } from "./authz/json-line.ts";
import { readTextFile } from "./ca-log.ts";
import type { Command, ParsedArguments } from "./command.ts";
import { EXIT } from "./exit.ts";
import { runJwtStep } from "./jwt-rotation.ts";
import { JSON_OPTION, required, STATE_OPTION } from "./options.ts";
import { ROTATION_OPTIONS, runStep } from "./rotation.ts";

const KEY_ID = /^[0-9a-f]{40}$/i;

/** The SubjectPublicKeyInfo of a certificate, or of a key alone, public or private. */
function publicKeyIn(text: string, where: string): Uint8Array {
  if (/-----BEGIN [A-Z ]*KEY-----/.test(text)) {
    try {
      return createPublicKey(text).export({ type: "spki", format: "der" });
    } catch {
      // What is in it is not to be told.
      throw new AppError("invalid-argument", "the key in it cannot be read", {
        where,
        help: "give it in PEM and in the clear, or a certificate of it; the key itself goes nowhere, only its identifier",
      });
    }
  }
  const [leaf] = parseCertificates(text);
  if (leaf === undefined) throw new AppError("invalid-argument", "there is neither a certificate nor a key in it", { where });
  return leaf.spki;
}

/** A key by the file that holds it or a certificate of it, or by its identifier. */
function keyIdOf(text: string): string {
  if (existsSync(text)) return hexOf(keyIdentifier(publicKeyIn(readTextFile(text), text)));
  if (KEY_ID.test(text)) return text;
  throw new AppError("invalid-argument", "there is no such file, and it is not the identifier of a key (40 hex digits)", { where: text });
}

/** What can be revoked, and which options go with it: any other would be read and have no effect. */
const TARGETS = {
  serial: ["reason"],
  identity: ["reason", "force"],
  key: ["reason"],
  authority: ["reason", "force", "dry-run"],
  jwt: [],
} as const satisfies Readonly<Record<string, readonly string[]>>;

type Target = keyof typeof TARGETS;

function isGiven(parsed: ParsedArguments, name: string): boolean {
  return parsed.flag(name) || parsed.value(name) !== undefined;
}

/** The one thing that is named, with nothing that does not go with it. Throws `invalid-argument`. */
function targetOf(parsed: ParsedArguments): Target {
  const named = (Object.keys(TARGETS) as Target[]).filter((name) => isGiven(parsed, name));
  const [target, ...others] = named;
  if (target === undefined || others.length > 0)
    throw new AppError("invalid-argument", "name one of `--serial`, `--identity`, `--key`, `--authority` and `--jwt`", {
      help: "each is revoked by a command of its own; see `garrison ca revoke --help`",
    });
  const allowed: readonly string[] = TARGETS[target];
  const stray = ["reason", "force", "dry-run"].find((name) => isGiven(parsed, name) && !allowed.includes(name));
  if (stray !== undefined) {
    const homes = (Object.keys(TARGETS) as Target[]).filter((name) => (TARGETS[name] as readonly string[]).includes(stray));
    throw new AppError("invalid-argument", `\`--${stray}\` does not go with \`--${target}\``, {
      help: `it is for ${homes.map((name) => `\`--${name}\``).join(", ")}`,
    });
  }
  if (parsed.value(target) === "") throw new AppError("invalid-argument", `\`--${target}\` needs a value`);
  return target;
}

function describe({ revoked, before, keyless = 0, blocked, proxies, unlisted, unasked, tookMs }: RevocationAnswer): string {
  const certificates = revoked.map(
    ({ serial, identity, notAfter }) => `  ${serial} ${identity}, until ${new Date(notAfter).toISOString()}`,
  );
  const blocks = blocked === undefined ? [] : [`${blocked.kind} ${blocked.value} gets no certificate from now on`];
  const waiting = proxies.waiting.map((proxy) => `  not yet: ${proxy}`);
  return [
    `${revoked.length === 1 ? "1 certificate" : `${revoked.length} certificates`} revoked`,
    ...certificates,
    ...(before === undefined ? [] : [`it was revoked already, at ${new Date(before.revokedAt).toISOString()}: ${before.reason}`]),
    ...(keyless === 0
      ? []
      : [
          `not revoked: ${keyless} that may be of this key, as the ledger was put back from its log; revoke those by --serial or --identity`,
        ]),
    ...blocks,
    `in force on ${proxies.acknowledged} of ${proxies.connected} connected proxies after ${tookMs} ms`,
    ...waiting,
    ...(unlisted === "" ? [] : [`servers that prove themselves by it are called by Envoys all the same: ${unlisted}`]),
    ...unasked.map((why) => `another replica could not be asked, and revokes what it issued itself as soon as it knows: ${why}`),
    "",
  ].join("\n");
}

export const command: Command = {
  name: "ca revoke",
  summary:
    "Revokes certificates, or an authority with all that it signed: every proxy refuses them at once, and they are not renewed. Ends with 1 where a connected proxy has not acknowledged it, a replica could not be asked what it issued, or where it would cut somebody off and is not forced.",
  options: {
    serial: { type: "value", value: "HEX", doc: "this certificate, whichever replica issued it" },
    identity: {
      type: "value",
      value: "WHO",
      doc: "NAMESPACE/SERVICE-ACCOUNT or a SPIFFE ID: all its certificates, and it gets no other until `ca unblock`",
    },
    key: {
      type: "value",
      value: "FILE",
      doc: "a file with the key, or with a certificate of it, or the key's identifier: all certificates of the key, and it gets no other",
    },
    authority: {
      type: "value",
      value: "ID",
      doc: "an authority that does not sign (prepared, old or tainted), by the beginning of its identifier: nobody trusts it from now on",
    },
    jwt: { type: "flag", doc: "the keys that signed JWT-SVIDs before the one of now" },
    ...ROTATION_OPTIONS,
    force: {
      type: "flag",
      doc: "the authority although that cuts somebody off; the identity although nobody is known by it, or it is the control plane's own",
    },
    reason: {
      type: "value",
      value: "REASON",
      doc: `${Object.keys(REVOCATION_REASONS).join(", ")}; without, unspecified, and superseded for what an authority has signed`,
    },
    state: STATE_OPTION,
    json: JSON_OPTION,
  },
  examples: [
    "garrison ca revoke --serial 43a014aa2055bac23f716608b38d8c7f --reason keyCompromise",
    "garrison ca revoke --identity photo-ns/photo-frontend",
    "garrison ca revoke --authority 5f0c --dry-run",
  ],
  run: async (parsed) => {
    const target = targetOf(parsed);
    if (target === "jwt") return runJwtStep(parsed, "revoke");
    const value = required(parsed, target);
    const reason = parsed.value("reason");
    if (target === "authority") return runStep(parsed, "revoke", value, reason);
    const request = {
      kind: target,
      value: target === "key" ? keyIdOf(value) : value,
      force: parsed.flag("force"),
      ...(reason === undefined ? {} : { reason }),
    };
    const answer = (await callAdmin(controlPlaneSocket(required(parsed, "state")), "POST", "/v1/ca/revoke", request)) as RevocationAnswer;
    process.stdout.write(parsed.flag("json") ? jsonLine(answer) : describe(answer));
    return answer.proxies.waiting.length === 0 && answer.unasked.length === 0 ? EXIT.ok : EXIT.no;
  },
};
