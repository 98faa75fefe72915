/** The request of a command line: by flags, or from a file; both go through the decoder of test files. */
import { type TestRequest, testRequest } from "../../analyze/test-request.ts";
import { AppError } from "../../core/error.ts";
import type { RawEntry, RawNode } from "../../policy/decode/raw-node.ts";
import { Report } from "../../policy/decode/report.ts";
import { parseYamlDocuments } from "../../sources/yaml-documents.ts";
import type { OptionSpec, ParsedArguments } from "../command.ts";
import { parseCount } from "../options.ts";
import { decodeFile, readText, topOf } from "./documents.ts";

const FLAGS = {
  from: { type: "value", value: "WHO", doc: "who asks: NAMESPACE/SERVICE-ACCOUNT, a SPIFFE ID, `plaintext`, or at a gateway `outsider`" },
  method: { type: "value", value: "METHOD", doc: "GET where nothing is said" },
  path: { type: "value", value: "PATH", doc: "as sent, `/` where nothing is said" },
  header: { type: "many", value: "'NAME: VALUE'", doc: "a request header; may be given several times" },
  host: { type: "value", value: "HOST", doc: "the authority; the workload's name where nothing is said" },
  port: { type: "value", value: "PORT", doc: "the port, where there are several: of the workload, or of the service that is asked" },
  sni: { type: "value", value: "NAME", doc: "the server name of the TLS handshake" },
  "source-ip": { type: "value", value: "ADDRESS", doc: "where the connection comes from; 127.0.0.1 where nothing is said" },
  "remote-ip": { type: "value", value: "ADDRESS", doc: "the client, by the X-Forwarded-For of proxies that the workload trusts" },
  jwt: { type: "value", value: "CLAIMS", doc: "a token that its issuer signed, by its claims: '{iss: https://a.example, sub: alice}'" },
  token: { type: "value", value: "TOKEN", doc: "a token as it is, which is verified; @FILE reads it from a file" },
  "token-in": {
    type: "value",
    value: "PLACE",
    doc: "where it stands: header=NAME, param=NAME, cookie=NAME; Authorization where nothing is said",
  },
  protocol: { type: "value", value: "PROTOCOL", doc: "http or tcp: what you take the port for; http2 asks over HTTP/2" },
  authorizer: {
    type: "many",
    value: "PROVIDER=ANSWER",
    doc: "what an extension provider answers, allow or deny; may be given several times",
  },
} as const satisfies Readonly<Record<string, OptionSpec>>;

export const REQUEST_OPTIONS = {
  ...FLAGS,
  request: { type: "value", value: "FILE", doc: "the request as YAML or JSON, with the fields of a test's `request`, instead of flags" },
} as const satisfies Readonly<Record<string, OptionSpec>>;

const PLACE = { file: "command line", line: 1, column: 1 } as const;

function scalar(value: string | number): RawNode {
  return { kind: "scalar", value, place: PLACE };
}

function map(entries: ReadonlyMap<string, RawNode>): RawNode {
  return { kind: "map", entries: [...entries].map(([key, value]): RawEntry => ({ key, place: PLACE, value })), place: PLACE };
}

/** Several values of one name become a list. */
function headersOf(lines: readonly string[]): RawNode {
  const values = new Map<string, RawNode[]>();
  for (const line of lines) {
    const [, name, value] = /^([^:\s]+):[ \t]*(.*?)[ \t]*$/s.exec(line) ?? [];
    if (name === undefined || value === undefined)
      throw new AppError("invalid-argument", `\`${line.slice(0, 100)}\` is not a header`, {
        help: "write it as `--header 'x-version: v1'`",
      });
    const key = name.toLowerCase();
    values.set(key, [...(values.get(key) ?? []), scalar(value)]);
  }
  return map(new Map([...values].map(([name, items]) => [name, { kind: "list", items, place: PLACE }])));
}

function answersOf(lines: readonly string[]): RawNode {
  const answers = lines.map((line) => {
    const [, provider, answer] = /^([^=]+)=(.*)$/s.exec(line) ?? [];
    if (provider === undefined || answer === undefined)
      throw new AppError("invalid-argument", `\`${line.slice(0, 100)}\` is not an answer`, {
        help: "write it as `--authorizer opa=allow`",
      });
    return [provider, scalar(answer)] as const;
  });
  return map(new Map(answers));
}

function claimsOf(text: string): RawNode {
  const { documents, diagnostic } = parseYamlDocuments(text, PLACE.file);
  const [claims, another] = documents;
  if (claims !== undefined && another === undefined && diagnostic === undefined) return claims;
  throw new AppError("invalid-argument", "the claims of `--jwt` are neither JSON nor YAML", {
    help: 'write them as `--jwt \'{"iss": "https://a.example", "sub": "alice"}\'`',
  });
}

/** A token on the command line is seen by every process of the machine. */
function tokenOf(text: string): string {
  return text.startsWith("@") ? readText(text.slice(1), "a token").trim() : text;
}

/** The fields of a request's token. */
function tokenFields(parsed: ParsedArguments): ReadonlyMap<string, RawNode> {
  const fields = new Map<string, RawNode>();
  const [jwt, token, place] = [parsed.value("jwt"), parsed.value("token"), parsed.value("token-in")];
  if (jwt !== undefined) fields.set("jwt", claimsOf(jwt));
  if (token !== undefined) fields.set("token", scalar(tokenOf(token)));
  if (place === undefined) return fields;
  const [, kind, name] = /^(header|param|cookie)=(.+)$/s.exec(place) ?? [];
  if (kind === undefined || name === undefined)
    throw new AppError("invalid-argument", `\`${place.slice(0, 100)}\` is no place of a token`, {
      help: "write it as `header=x-jwt`, `param=access_token` or `cookie=session`",
    });
  return fields.set(kind, scalar(name));
}

/** The request of flags. Throws `invalid-argument` with what is wrong first. */
function requestOfFlags(parsed: ParsedArguments): TestRequest {
  const fields = new Map<string, RawNode>(tokenFields(parsed));
  for (const [flag, field] of Object.entries({
    method: "method",
    path: "path",
    host: "host",
    sni: "sni",
    "source-ip": "sourceIp",
    "remote-ip": "remoteIp",
    protocol: "protocol",
  })) {
    const value = parsed.value(flag);
    if (value !== undefined) fields.set(field, scalar(value));
  }
  const from = parsed.value("from");
  if (from !== undefined) fields.set("from", scalar(from));
  const port = parsed.value("port");
  if (port !== undefined) fields.set("port", scalar(parseCount("port", port, 1, 65_535)));
  if (parsed.values("header").length > 0) fields.set("headers", headersOf(parsed.values("header")));
  if (parsed.values("authorizer").length > 0) fields.set("authorizers", answersOf(parsed.values("authorizer")));
  const report = new Report();
  const request = testRequest(topOf(map(fields), report));
  const [problem] = report.diagnostics;
  if (request !== undefined) return request;
  throw new AppError(
    "invalid-argument",
    problem?.message ?? "the request is wrong",
    problem?.help === undefined ? {} : { help: problem.help },
  );
}

/** The request that a command line describes (REQUEST_OPTIONS). Throws `invalid-argument`, `not-found`, `invalid-configuration`. */
export function requestOf(parsed: ParsedArguments): TestRequest {
  const file = parsed.value("request");
  if (file === undefined) return requestOfFlags(parsed);
  const doubled = Object.keys(FLAGS).find((flag) => parsed.value(flag) !== undefined || parsed.values(flag).length > 0);
  if (doubled !== undefined)
    throw new AppError("invalid-argument", `\`--request\` and \`--${doubled}\` both describe the request`, {
      help: "use the file, or the flags",
    });
  const [request, another] = decodeFile(file, "a request", (node, report) => testRequest(topOf(node, report)));
  if (request === undefined || another !== undefined)
    throw new AppError("invalid-configuration", "the file holds more than one request", {
      where: file,
      help: "write several into a test file",
    });
  return request;
}
