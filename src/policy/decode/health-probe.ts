/** Istio `ReadinessProbe`: what an agent asks of the application beside it. */
import type { HealthProbe, ProbeHandler } from "../health-probe.ts";
import { LIMITS } from "./limits.ts";
import { type Decoder, type Fields, integer, list, record, stringUpTo, text, wrong } from "./reader.ts";
import { matching, oneOf } from "./refine.ts";
import { quote } from "./report.ts";

const DAY = 86_400;

/** The workload itself: whoever may write groups is not to have machines ask around in their networks. */
const host: Decoder<string> = (cursor) => {
  const value = text(cursor);
  if (value === undefined) return undefined;
  if (value === "127.0.0.1" || value === "::1") return value;
  if (value === "localhost") return "127.0.0.1";
  const help = "remove it, which asks the workload's own address, or write `127.0.0.1`, `localhost` or `::1`";
  return wrong(cursor, "GAR0004", `is not supported: ${quote(value)}`, help);
};

/** RFC 9110 §5.6.2, and no control characters in values. */
const headerName = matching(
  (value) => /^[!#$%&'*+.^_`|~0-9A-Za-z-]{1,256}$/.test(value),
  "the name of a header",
  "use letters, digits and dashes",
);

const headerValue: Decoder<string> = (cursor) => {
  const value = stringUpTo(LIMITS.text)(cursor);
  return value === undefined || /^[\t\x20-\x7e]*$/.test(value) ? value : wrong(cursor, "GAR0007", "is not the value of a header");
};

const path = matching((value) => /^\/[!-~]*$/.test(value), "a path", "begin it with `/`, and use no spaces");

const httpHeader = record((fields): readonly [string, string] | undefined => {
  const name = fields.required("name", headerName);
  const value = fields.optional("value", headerValue) ?? "";
  return name === undefined ? undefined : [name, value];
});

const port = integer(1, 65_535);

const httpGet: Decoder<ProbeHandler> = record((fields) => {
  const number = fields.required("port", port);
  const requested = fields.optional("path", path) ?? "/";
  const scheme = fields.optional("scheme", oneOf(["HTTP", "HTTPS"])) ?? "HTTP";
  const asked = fields.optional("host", host);
  const headers = fields.optional("httpHeaders", list(httpHeader, { max: LIMITS.routeValues })) ?? [];
  return number === undefined ? undefined : { kind: "http", scheme, host: asked, port: number, path: requested, headers };
});

const tcpSocket: Decoder<ProbeHandler> = record((fields) => {
  const number = fields.required("port", port);
  const asked = fields.optional("host", host);
  return number === undefined ? undefined : { kind: "tcp", host: asked, port: number };
});

const grpc: Decoder<ProbeHandler> = record((fields) => {
  const number = fields.required("port", port);
  const service = fields.optional("service", stringUpTo(LIMITS.text)) ?? "";
  return number === undefined ? undefined : { kind: "grpc", port: number, service };
});

const argument: Decoder<string> = (cursor) => {
  const value = stringUpTo(LIMITS.text)(cursor);
  return value?.includes("\0") ? wrong(cursor, "GAR0007", "has a NUL character, which no program can be given") : value;
};

const exec: Decoder<ProbeHandler> = record((fields) => {
  const command = fields.required("command", list(argument, { min: 1, max: LIMITS.routeValues }));
  if (command?.[0] !== "") return command === undefined ? undefined : { kind: "exec", command };
  return wrong(fields.cursor, "GAR0007", "names no program", "the first element of `command` is the program");
});

function handlerOf(fields: Fields): ProbeHandler | undefined {
  const handlers = { httpGet, tcpSocket, exec, grpc };
  const names = (Object.keys(handlers) as (keyof typeof handlers)[]).filter((name) => fields.has(name));
  const found = Object.entries(handlers).map(([name, decoder]) => fields.optional(name, decoder));
  if (names.length === 1) return found.find((handler) => handler !== undefined);
  const help = "write one of `httpGet`, `tcpSocket`, `grpc` and `exec`";
  return wrong(fields.cursor, "GAR0007", names.length === 0 ? "asks nothing" : `asks in several ways: ${names.join(", ")}`, help);
}

/** Where nothing or 0 is said, Kubernetes' and Istio's defaults hold. */
function seconds(fields: Fields, name: string, otherwise: number, max = DAY): number {
  const value = fields.optional(name, integer(0, max)) ?? 0;
  return value === 0 ? otherwise : value;
}

export const healthProbe: Decoder<HealthProbe> = record((fields) => {
  const handler = handlerOf(fields);
  const times = {
    initialDelaySeconds: seconds(fields, "initialDelaySeconds", 0),
    timeoutSeconds: seconds(fields, "timeoutSeconds", 1, 60),
    periodSeconds: seconds(fields, "periodSeconds", 10),
    successThreshold: seconds(fields, "successThreshold", 1, 100),
    failureThreshold: seconds(fields, "failureThreshold", 3, 100),
  };
  return handler === undefined ? undefined : { ...times, ...handler };
});
