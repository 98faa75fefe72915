/**
 * A message of a gRPC call written in pieces. grpc-js hands the connection a message as a whole, and Node keeps as much memory for a connection as
 * the longest write to it took, as long as it is open: a megabyte for each proxy that sees a thousand services.
 */
import { Buffer } from "node:buffer";
import type { Writable } from "node:stream";
import type { ServerDuplexStream } from "@grpc/grpc-js";

/** Bytes that are written at once. */
const PIECE = 64 << 10;
/** Before each message: whether it is compressed, and its length (gRPC over HTTP/2, "Length-Prefixed-Message"). */
const PREFIX = 5;

/** What a call of grpc-js holds, which its types hide: the HTTP/2 stream. */
interface Inside {
  readonly call?: { readonly stream?: Sink };
}

type Sink = Pick<Writable, "write" | "writableEnded" | "destroyed">;

function streamOf(call: object): Sink | undefined {
  return (call as Inside).call?.stream;
}

function* piecesOf(message: Buffer): Generator<Buffer> {
  const first = message.subarray(0, PIECE - PREFIX);
  const framed = Buffer.allocUnsafe(PREFIX + first.length);
  framed[0] = 0;
  framed.writeUInt32BE(message.length, 1);
  first.copy(framed, PREFIX);
  yield framed;
  for (let at = first.length; at < message.length; at += PIECE) yield message.subarray(at, at + PIECE);
}

export interface Writing {
  /** A piece has left. */
  readonly moved: () => void;
  /** All of it has. Neither is called once the call is over. */
  readonly done: () => void;
}

/** Writes a message that is serialized already. The call's metadata was sent, and the message before this one is done. */
export function writeInPieces(call: Pick<ServerDuplexStream<unknown, Buffer>, "write">, message: Buffer, { moved, done }: Writing): void {
  const stream = streamOf(call);
  if (stream === undefined) {
    call.write(message, () => done());
    return;
  }
  const pieces = piecesOf(message);
  const next = (error?: Error | null): void => {
    // The end of the call is told apart from this; its status may be on its way already.
    if ((error !== undefined && error !== null) || stream.writableEnded || stream.destroyed) return;
    const { value } = pieces.next();
    if (value === undefined) {
      done();
      return;
    }
    moved();
    stream.write(value, next);
  };
  next();
}
