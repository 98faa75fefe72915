/** `extensionProviders` of the MeshConfig: an external authorizer is refused by name, what only watches is told. */
import { LIMITS } from "./limits.ts";
import { type Decoder, type Fields, list, record, text } from "./reader.ts";

const UNUSED = [
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

const provider: Decoder<true> = record((fields) => {
  fields.required("name", text);
  fields.refuse({
    envoyExtAuthzHttp: "external authorization is not supported: remove the provider",
    envoyExtAuthzGrpc: "external authorization is not supported: remove the provider",
    sds: "certificates come from the mesh's own CA: remove the provider",
  });
  fields.tellUnused(UNUSED, "decisions are in the record: see `garrison audit`");
  return true;
});

const providers = list(provider, { max: LIMITS.meshValues });

/** Reads the field, and says what of it does not hold. */
export function readExtensionProviders(fields: Fields): void {
  fields.optional("extensionProviders", providers);
}
