/** Where a key is in a token: a PKCS #11 URI (RFC 7512). */
import { AppError } from "../../core/error.ts";

/** What tells a token from others; what is undefined does not matter. */
export interface TokenQuery {
  readonly label: string | undefined;
  readonly serial: string | undefined;
  readonly manufacturer: string | undefined;
  readonly model: string | undefined;
}

export interface KeyLocation {
  /** The path of the vendor's library. */
  readonly module: string;
  /** The path of the file that has the user's PIN. */
  readonly pinFile: string;
  readonly token: TokenQuery;
  /** `CKA_LABEL` and `CKA_ID` (hex) of the key: at least one. */
  readonly label: string | undefined;
  readonly id: string | undefined;
}

const PATH_ATTRIBUTES = ["token", "serial", "manufacturer", "model", "object", "id", "type"] as const;
const QUERY_ATTRIBUTES = ["module-path", "pin-source"] as const;
const MAX_LENGTH = 2048;
const EXAMPLE = "pkcs11:token=garrison;object=ca-key?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/etc/garrison/pin";

function bad(message: string): AppError {
  return new AppError("invalid-argument", message, { help: `it looks like \`${EXAMPLE}\`` });
}

/** RFC 7512 §2.3: percent-encoded octets; of `id` these are no text. */
function octets(value: string): Buffer {
  if (/%(?![0-9a-fA-F]{2})/.test(value)) throw bad("the PKCS #11 URI has a `%` that is not followed by two hexadecimal digits");
  const parts = value.split(/%([0-9a-fA-F]{2})/).map((part, index) => Buffer.from(part, index % 2 === 1 ? "hex" : "utf8"));
  return Buffer.concat(parts);
}

function attributes<Name extends string>(text: string, separator: string, known: readonly Name[]): ReadonlyMap<Name, string> {
  const found = new Map<Name, string>();
  for (const part of text === "" ? [] : text.split(separator)) {
    const equals = part.indexOf("=");
    const name = known.find((each) => each === part.slice(0, Math.max(0, equals)));
    // A PIN may stand in the part: nothing of its value is told.
    if (part.startsWith("pin-value="))
      throw bad("a PIN does not belong on a command line, which others can read: name a file by `pin-source`");
    if (name === undefined)
      throw bad(
        `the PKCS #11 URI has \`${part.slice(0, Math.max(0, equals)) || "an attribute without a value"}\`, which is not one of ${known.join(", ")}`,
      );
    if (found.has(name)) throw bad(`the PKCS #11 URI has \`${name}\` twice`);
    found.set(name, part.slice(equals + 1));
  }
  return found;
}

/** The path of `pin-source`: a `file:` URI or a path. */
function pathOf(value: string, name: string): string {
  const path = octets(value)
    .toString("utf8")
    .replace(/^file:(\/\/)?(?=\/)/, "");
  if (!path.startsWith("/") || path.includes("\0")) throw bad(`\`${name}\` of the PKCS #11 URI is not an absolute path`);
  return path;
}

/** Throws `invalid-argument`; a PIN that was written into it is not repeated. */
export function parsePkcs11Uri(uri: string): KeyLocation {
  if (!uri.startsWith("pkcs11:") || uri.length > MAX_LENGTH) throw bad("the text is no PKCS #11 URI");
  const [path = "", query = "", ...rest] = uri.slice("pkcs11:".length).split("?");
  if (rest.length > 0) throw bad("the PKCS #11 URI has more than one `?`");
  const inPath = attributes(path, ";", PATH_ATTRIBUTES);
  const inQuery = attributes(query, "&", QUERY_ATTRIBUTES);
  const text = (name: (typeof PATH_ATTRIBUTES)[number]) => {
    const value = inPath.get(name);
    return value === undefined ? undefined : octets(value).toString("utf8");
  };
  const [module, pinSource] = QUERY_ATTRIBUTES.map((name) => inQuery.get(name));
  if (module === undefined || pinSource === undefined)
    throw bad(`the PKCS #11 URI lacks \`${module === undefined ? "module-path" : "pin-source"}\``);
  const type = text("type");
  if (type !== undefined && type !== "private") throw bad(`the key of a CA is of type \`private\`, not \`${type}\``);
  const [label, id] = [text("object"), inPath.get("id")];
  const token = { label: text("token"), serial: text("serial"), manufacturer: text("manufacturer"), model: text("model") };
  if (label === undefined && id === undefined) throw bad("the PKCS #11 URI names no key: it lacks `object` and `id`");
  if (Object.values(token).every((value) => value === undefined))
    throw bad("the PKCS #11 URI names no token: it lacks `token` or `serial`");
  return {
    module: pathOf(module, "module-path"),
    pinFile: pathOf(pinSource, "pin-source"),
    token,
    label,
    id: id === undefined ? undefined : octets(id).toString("hex"),
  };
}

/** Which key it is, for people: without the files. */
export function describeKey({ token, label, id }: KeyLocation): string {
  return `key ${label ?? `id ${id}`} of the token ${token.label ?? token.serial ?? token.manufacturer ?? token.model}`;
}
