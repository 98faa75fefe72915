/** The keys of an issuer, from the document that its rule names or that its discovery leads to. */
import { AppError } from "../core/error.ts";
import { type ReadJwks, readJwks } from "../policy/jwks.ts";
import type { RemoteJwks } from "../policy/model.ts";
import { type FetchOptions, fetchText } from "./fetch.ts";

function withoutSlash(url: string): string {
  return url.replace(/\/$/, "");
}

/** OpenID Connect Discovery 1.0 §4. */
async function discover(issuer: string, timeoutMs: number, options: FetchOptions): Promise<string> {
  const text = await fetchText(`${withoutSlash(issuer)}/.well-known/openid-configuration`, timeoutMs, options);
  let document: unknown;
  try {
    document = JSON.parse(text);
  } catch {
    throw new AppError("unavailable", "the issuer's discovery document is not JSON");
  }
  const fields = typeof document === "object" && document !== null ? (document as Readonly<Record<string, unknown>>) : {};
  if (typeof fields.jwks_uri !== "string") throw new AppError("unavailable", "the issuer's discovery document has no `jwks_uri`");
  // §4.3: otherwise whoever serves documents for several issuers could speak for another one.
  if (typeof fields.issuer !== "string" || withoutSlash(fields.issuer) !== withoutSlash(issuer))
    throw new AppError("unavailable", "the discovery document is another issuer's");
  return fields.jwks_uri;
}

/** Fetches a key set; it has at least one usable key. Throws what `fetchText` throws, and `unavailable` for what is no key set. */
export async function downloadJwks(source: RemoteJwks, options: FetchOptions): Promise<ReadJwks> {
  const { kind, url, timeoutMs } = source;
  const address = kind === "uri" ? url : await discover(url, timeoutMs, options);
  const text = await fetchText(address, timeoutMs, options);
  try {
    const read = readJwks(text);
    if (read.keys.length > 0) return read;
    throw new AppError("unavailable", `the key set has no usable key${read.dropped.length === 0 ? "" : `: ${read.dropped.join("; ")}`}`);
  } catch (thrown) {
    const error = AppError.from(thrown);
    throw new AppError("unavailable", error.message, error.help === undefined ? {} : { help: error.help });
  }
}
