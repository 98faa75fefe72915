/** Istio `ClientTLSSettings`. */
import type { ClientCertificateFiles, ClientTls, ServerName } from "../model.ts";
import { LIMITS } from "./limits.ts";
import { boolean, type Decoder, type Fields, record, stringUpTo, wrong } from "./reader.ts";
import { matching, oneOf } from "./refine.ts";
import { quote } from "./report.ts";
import { parseHost, subjectAltNames } from "./server-name.ts";

/** Files of the system are no certificates, and reading some of them never ends. */
const SYSTEM_FOLDER = /^\/(?:dev|proc|sys)(?:\/|$)/;

function isFilePath(path: string): boolean {
  const plain = path.startsWith("/") && !path.endsWith("/") && !/\p{Cc}/u.test(path);
  return (
    plain &&
    !path
      .split("/")
      .slice(1)
      .some((part) => part === "" || part === "." || part === "..") &&
    !SYSTEM_FOLDER.test(path)
  );
}

/** The path of a file on the machine of the client's proxy. */
const file: Decoder<string> = (cursor) => {
  const value = stringUpTo(LIMITS.path)(cursor);
  if (value === undefined || isFilePath(value)) return value;
  const help = "write a whole path without `..`, such as `/etc/garrison/ca.pem`, of a file on the machine of the client's proxy";
  return wrong(cursor, "GAR0007", `is not the path of a file: ${quote(value)}`, help);
};

const serverName = matching((value) => parseHost(value) !== undefined, "a server name", "write a DNS name, such as `api.example.com`");

const CREDENTIAL_HELP =
  "private keys are not kept in the configuration: write `clientCertificate`, `privateKey` and `caCertificates`, files on the machine of the client's proxy";

interface Settings {
  readonly names: readonly ServerName[];
  readonly sni: string | undefined;
  readonly caCertificates: string | undefined;
  readonly caCrl: string | undefined;
  readonly skip: boolean;
  readonly clientCertificate: string | undefined;
  readonly privateKey: string | undefined;
}

function readSettings(fields: Fields): Settings {
  const settings = {
    clientCertificate: fields.optional("clientCertificate", file),
    privateKey: fields.optional("privateKey", file),
    caCertificates: fields.optional("caCertificates", file),
    caCrl: fields.optional("caCrl", file),
    names: fields.optional("subjectAltNames", subjectAltNames) ?? [],
    sni: fields.optional("sni", serverName)?.toLowerCase(),
    skip: fields.optional("insecureSkipVerify", boolean) ?? false,
  };
  fields.refuse({ credentialName: CREDENTIAL_HELP });
  return settings;
}

/** A setting of another mode: whoever wrote it expects something of it. */
function refuseBeside(mode: ClientTls["mode"], fields: Fields, names: readonly string[]): void {
  for (const name of names)
    if (fields.has(name))
      wrong(fields.cursor, "GAR0007", `has \`${name}\`, which means nothing with mode ${mode}`, "remove it, or change the mode");
}

const FILES = ["clientCertificate", "privateKey", "caCertificates", "caCrl"] as const;

function checkSkip(fields: Fields): void {
  for (const name of ["caCertificates", "caCrl", "subjectAltNames"])
    if (fields.has(name))
      wrong(
        fields.cursor,
        "GAR0007",
        `has \`${name}\` and \`insecureSkipVerify\``,
        "a server is verified or it is not: remove one of them",
      );
}

function certificateOf(fields: Fields, { clientCertificate, privateKey }: Settings): ClientCertificateFiles | undefined {
  for (const name of ["clientCertificate", "privateKey"])
    if (!fields.has(name)) wrong(fields.cursor, "GAR0005", `has no \`${name}\`, which mode MUTUAL needs`);
  return clientCertificate === undefined || privateKey === undefined ? undefined : { clientCertificate, privateKey };
}

function meshTls(fields: Fields, { names, sni }: Settings): ClientTls {
  refuseBeside("ISTIO_MUTUAL", fields, [...FILES, "insecureSkipVerify"]);
  const foreign = names.find(({ kind, value }) => kind !== "uri" || !value.startsWith("spiffe://"));
  if (foreign !== undefined)
    wrong(
      fields.cursor,
      "GAR0007",
      `has the name ${quote(foreign.value)} with mode ISTIO_MUTUAL`,
      "certificates of the mesh hold SPIFFE IDs: write one",
    );
  return { mode: "ISTIO_MUTUAL", subjectAltNames: names, sni };
}

/** The mode is asked for, where Istio takes DISABLE: a forgotten line must not mean plaintext. */
export const clientTls: Decoder<ClientTls> = record((fields) => {
  const mode = fields.required("mode", oneOf(["DISABLE", "SIMPLE", "MUTUAL", "ISTIO_MUTUAL"]), "without it, Istio would speak plaintext");
  const settings = readSettings(fields);
  if (mode === undefined) return undefined;
  if (mode === "DISABLE") {
    refuseBeside(mode, fields, [...FILES, "subjectAltNames", "sni", "insecureSkipVerify"]);
    return { mode };
  }
  if (mode === "ISTIO_MUTUAL") return meshTls(fields, settings);
  const { names, sni, caCertificates, caCrl, skip } = settings;
  if (skip) checkSkip(fields);
  if (mode === "SIMPLE") refuseBeside(mode, fields, ["clientCertificate", "privateKey"]);
  const certificate = mode === "MUTUAL" ? certificateOf(fields, settings) : undefined;
  return { mode, subjectAltNames: names, sni, caCertificates, caCrl, insecureSkipVerify: skip, certificate };
});
