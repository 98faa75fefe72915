/** `extensionProviders` of the MeshConfig: those that authorize are read, those that only watch are told. */
import type { ExtensionProvider } from "../extension-provider.ts";
import { extensionProvider } from "./extension-provider.ts";
import { LIMITS } from "./limits.ts";
import { childOf } from "./raw-node.ts";
import { type Cursor, type Decoder, type Fields, list, record, text, wrong } from "./reader.ts";
import { quote } from "./report.ts";

/** Tracing, metrics and access logs. */
const WATCHING = [
  "datadog",
  "envoyFileAccessLog",
  "envoyHttpAls",
  "envoyOtelAls",
  "envoyTcpAls",
  "lightstep",
  "opencensus",
  "opentelemetry",
  "prometheus",
  "skywalking",
  "stackdriver",
  "zipkin",
];

const watchingProvider: Decoder<"unused"> = record((fields) => {
  fields.required("name", text);
  fields.tellUnused(WATCHING);
  return "unused";
});

/** One that does both at once is for the decoder of those that authorize, which refuses it. */
function onlyWatches({ node }: Cursor): boolean {
  const has = (name: string): boolean => childOf(node, name) !== undefined;
  return WATCHING.some(has) && !has("envoyExtAuthzHttp") && !has("envoyExtAuthzGrpc");
}

const provider: Decoder<ExtensionProvider | "unused"> = (cursor) =>
  onlyWatches(cursor) ? watchingProvider(cursor) : extensionProvider(cursor);

/** By name; the name of each stands once. */
const providers: Decoder<ReadonlyMap<string, ExtensionProvider>> = (cursor) => {
  const read = list(provider, { max: LIMITS.meshValues })(cursor);
  const byName = new Map<string, ExtensionProvider>();
  for (const one of read ?? []) {
    if (one === "unused") continue;
    if (byName.has(one.name)) wrong(cursor, "GAR0007", `has the name ${quote(one.name)} twice`, "give each provider a name of its own");
    byName.set(one.name, one);
  }
  return read === undefined ? undefined : byName;
};

/** The providers that policies may name, by name. */
export function readExtensionProviders(fields: Fields): ReadonlyMap<string, ExtensionProvider> {
  return fields.optional("extensionProviders", providers) ?? new Map();
}
