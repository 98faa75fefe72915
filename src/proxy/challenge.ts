/** What a client whose token is refused is told by a header. */
import { MISSING } from "../render/decide/tokens/authenticate.ts";
import type { JwtFailure } from "../render/decide/tokens/parse.ts";
import { valuesOf } from "./headers.ts";
import type { HeaderList, RequestHead } from "./message.ts";

/** `WWW-Authenticate` (RFC 6750 §3), without the query: a token may stand there, and answers are logged. */
export function challengeOf(failure: JwtFailure, { authority, path, headers }: RequestHead): HeaderList {
  const [scheme = "http"] = valuesOf(headers, "x-forwarded-proto");
  const realm = `${scheme}://${authority}${path.path}`.replace(/[^\x21\x23-\x5b\x5d-\x7e]/g, "").slice(0, 256);
  return ["www-authenticate", `Bearer realm="${realm}"${failure === MISSING ? "" : ', error="invalid_token"'}`];
}
