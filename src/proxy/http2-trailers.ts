/** What is forwarded over HTTP/2 as `node:http2` wants it. */
import { constants, type Http2Stream } from "node:http2";
import type { HeaderList } from "./message.ts";

/** Several lines of one name are passed on, also where the name is one that Node wants once: they are the two ends' own affair. */
export const AS_THEY_CAME = { strictSingleValueFields: false } as const;

function toHeaderObject(headers: HeaderList): Record<string, string[]> {
  const object: Record<string, string[]> = Object.create(null);
  for (let index = 0; index < headers.length; index += 2) {
    const name = headers[index] ?? "";
    const values = object[name] ?? [];
    object[name] = values;
    values.push(headers[index + 1] ?? "");
  }
  return object;
}

/** Sends trailers when the stream wants them. Those that Node does not take end the stream, and not the process, from whose event this is called. */
export function sendTrailers(stream: Http2Stream, trailers: HeaderList): void {
  try {
    stream.sendTrailers(toHeaderObject(trailers));
  } catch {
    stream.close(constants.NGHTTP2_INTERNAL_ERROR);
  }
}
