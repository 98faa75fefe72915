/**
 * The kubeconfig of another cluster, as a Secret holds it. Whoever may write that Secret is no administrator of this machine: nothing in it runs a
 * program, reads a file or turns a check off, and what is not known is refused by name.
 */
import { createPrivateKey, X509Certificate } from "node:crypto";
import { parseDocument } from "yaml";
import { AppError } from "../../../core/error.ts";
import { SecretText } from "../../../core/secret-text.ts";
import { isPlain } from "../api-objects.ts";

/** How an API server is reached, and as whom. */
export interface RemoteKubeconfig {
  /** `https://HOST[:PORT][/PATH]`, without a slash at the end. */
  readonly server: string;
  /** PEM. */
  readonly ca: string;
  /** The name in the server's certificate, where it is not the host of `server`. */
  readonly serverName?: string;
  readonly credential:
    | { readonly kind: "token"; readonly token: SecretText }
    | { readonly kind: "certificate"; readonly certificate: string; readonly key: SecretText };
}

const LIMITS = {
  /** Bytes of the whole; what `istioctl create-remote-secret` writes has less than 8 KiB. */
  text: 64 * 1024,
  aliases: 0,
  /** Clusters, users, contexts. */
  entries: 16,
  /** A URL, a name. */
  name: 2048,
  /** A service account's token, as everywhere. */
  token: 16 * 1024,
} as const;

type Plain = Readonly<Record<string, unknown>>;

function refuse(message: string, help?: string): AppError {
  return new AppError("invalid-configuration", message, help === undefined ? {} : { help });
}

const RUNS = "a kubeconfig in a Secret runs no program: use a service account's token, as `garrison clusters create-remote-secret` does";
const FILES = "nothing is read from the control plane's disk: write the contents, in base64, into the `…-data` field";

/** Fields that are refused with a word of their own. */
const REFUSED: Readonly<Record<string, string>> = {
  exec: RUNS,
  "auth-provider": RUNS,
  tokenFile: "nothing is read from the control plane's disk: write the token into `token`",
  "client-certificate": FILES,
  "client-key": FILES,
  "certificate-authority": FILES,
  "proxy-url": "the API server is reached directly",
  username: "Kubernetes takes no passwords any more",
  password: "Kubernetes takes no passwords any more",
  as: "the control plane is who its credential says, and nobody else",
  "as-groups": "the control plane is who its credential says, and nobody else",
  "as-uid": "the control plane is who its credential says, and nobody else",
  "as-user-extra": "the control plane is who its credential says, and nobody else",
};

/** The fields of a map, of which there are no others. `ignored` have no meaning here. */
function fieldsOf(value: unknown, what: string, known: readonly string[], ignored: readonly string[] = []): Plain {
  if (!isPlain(value)) throw refuse(`${what} of the kubeconfig is not a map of fields`);
  for (const [name, child] of Object.entries(value)) {
    if (known.includes(name) || ignored.includes(name) || child === null || child === undefined) continue;
    const help = Object.hasOwn(REFUSED, name) ? REFUSED[name] : undefined;
    throw help === undefined
      ? refuse(`\`${name.slice(0, 100)}\` in ${what} of the kubeconfig is not known`, `the fields are ${known.join(", ")}`)
      : refuse(`\`${name}\` in ${what} of the kubeconfig is refused`, help);
  }
  return value;
}

function textOf(fields: Plain, name: string, max: number = LIMITS.name): string | undefined {
  const value = fields[name];
  if (value === undefined || value === null || value === "") return undefined;
  if (typeof value !== "string" || value.length > max)
    throw refuse(`\`${name}\` of the kubeconfig is not a text of at most ${max} characters`);
  return value;
}

function required(fields: Plain, name: string, what: string): string {
  const value = textOf(fields, name);
  if (value === undefined) throw refuse(`${what} of the kubeconfig has no \`${name}\``);
  return value;
}

/** The entry of this name in a list of named ones. */
function named(config: Plain, list: string, name: string): unknown {
  const entries = config[list];
  if (!Array.isArray(entries) || entries.length > LIMITS.entries)
    throw refuse(`\`${list}\` of the kubeconfig is not a list of at most ${LIMITS.entries} entries`);
  const found = entries.filter((entry) => isPlain(entry) && entry.name === name);
  if (found.length !== 1) throw refuse(`\`${list}\` of the kubeconfig has not one entry \`${name.slice(0, 100)}\``);
  return found[0];
}

function base64Text(fields: Plain, name: string): string | undefined {
  const text = textOf(fields, name, LIMITS.text);
  if (text === undefined) return undefined;
  if (!/^[A-Za-z0-9+/\s]+={0,2}\s*$/.test(text)) throw refuse(`\`${name}\` of the kubeconfig is not base64`);
  return Buffer.from(text, "base64").toString("utf8");
}

function certificates(pem: string, name: string): string {
  const blocks = pem.match(/-----BEGIN CERTIFICATE-----[\s\S]*?-----END CERTIFICATE-----/g) ?? [];
  try {
    for (const block of blocks) new X509Certificate(block);
    if (blocks.length > 0) return `${blocks.join("\n")}\n`;
  } catch {
    // Told below.
  }
  throw refuse(`\`${name}\` of the kubeconfig holds no certificates in PEM`);
}

function serverOf(fields: Plain): string {
  const text = required(fields, "server", "the cluster");
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol !== "https:" || url.username !== "" || url.password !== "" || url.search !== "" || url.hash !== "")
    throw refuse("the API server of the kubeconfig is not reached by TLS at a plain `https://` address");
  return url.href.replace(/\/+$/, "");
}

function readCluster(value: unknown): Pick<RemoteKubeconfig, "server" | "ca" | "serverName"> {
  const fields = fieldsOf(
    value,
    "the cluster",
    ["server", "certificate-authority-data", "tls-server-name", "insecure-skip-tls-verify"],
    ["disable-compression", "extensions"],
  );
  if ((fields["insecure-skip-tls-verify"] ?? false) !== false)
    throw refuse("`insecure-skip-tls-verify` is refused", "whoever stood between would say who every token is");
  const ca = base64Text(fields, "certificate-authority-data");
  if (ca === undefined)
    throw refuse("the cluster of the kubeconfig has no `certificate-authority-data`", "the API server is known by its own root alone");
  const serverName = textOf(fields, "tls-server-name", 253);
  return {
    server: serverOf(fields),
    ca: certificates(ca, "certificate-authority-data"),
    ...(serverName === undefined ? {} : { serverName }),
  };
}

function keyOf(pem: string): SecretText {
  try {
    createPrivateKey(pem);
  } catch {
    throw refuse("`client-key-data` of the kubeconfig holds no private key in PEM");
  }
  return new SecretText(pem);
}

function readUser(value: unknown): RemoteKubeconfig["credential"] {
  const fields = fieldsOf(value, "the user", ["token", "client-certificate-data", "client-key-data"], ["extensions"]);
  const token = textOf(fields, "token", LIMITS.token);
  const [certificate, key] = [base64Text(fields, "client-certificate-data"), base64Text(fields, "client-key-data")];
  if (token !== undefined && certificate === undefined && key === undefined) {
    // Of a header: nothing that could end its line.
    if (!/^[\x21-\x7e]+$/.test(token)) throw refuse("`token` of the kubeconfig is not one token");
    return { kind: "token", token: new SecretText(token) };
  }
  if (token === undefined && certificate !== undefined && key !== undefined)
    return { kind: "certificate", certificate: certificates(certificate, "client-certificate-data"), key: keyOf(key) };
  throw refuse("the user of the kubeconfig has not one credential", "give it `token`, or `client-certificate-data` and `client-key-data`");
}

/** YAML without aliases: what a text of this size says is no larger than it. The text itself, which holds a credential, is in no error. */
function parse(text: string): unknown {
  if (Buffer.byteLength(text) > LIMITS.text) throw refuse(`the kubeconfig is longer than ${LIMITS.text} bytes`);
  try {
    const document = parseDocument(text, { prettyErrors: false, uniqueKeys: true, logLevel: "silent", merge: false });
    if (document.errors.length === 0) return document.toJS({ maxAliasCount: LIMITS.aliases }) as unknown;
  } catch {
    // Told below.
  }
  throw refuse("the kubeconfig is not plain YAML");
}

/** The current context of a kubeconfig. Throws `invalid-configuration`, without a word of any credential. */
export function readRemoteKubeconfig(text: string): RemoteKubeconfig {
  const config = fieldsOf(
    parse(text),
    "the top",
    ["apiVersion", "kind", "clusters", "users", "contexts", "current-context"],
    ["preferences", "extensions"],
  );
  if ((config.kind ?? "Config") !== "Config" || (config.apiVersion ?? "v1") !== "v1") throw refuse("the text is no kubeconfig of `v1`");
  const current = required(config, "current-context", "the top");
  const entry = (list: string, name: string, field: string): unknown =>
    fieldsOf(named(config, list, name), `\`${list}\``, ["name", field])[field];
  const context = fieldsOf(entry("contexts", current, "context"), "the context", ["cluster", "user"], ["namespace", "extensions"]);
  const cluster = entry("clusters", required(context, "cluster", "the context"), "cluster");
  const user = entry("users", required(context, "user", "the context"), "user");
  return { ...readCluster(cluster), credential: readUser(user) };
}
