/** A client of the Workload API, for commands that run beside a workload. */
import { create, type DescMessage, type DescMethod, type MessageInitShape, type MessageShape } from "@bufbuild/protobuf";
import { Client, credentials, Metadata, type ServiceError } from "@grpc/grpc-js";
import { parseEndpointSocket } from "../agent/workload-socket.ts";
import { AppError } from "../core/error.ts";
import { methodDefinition } from "../rpc/service.ts";
import { fromGrpcError } from "../rpc/status.ts";
import type { OptionSpec, ParsedArguments } from "./command.ts";

export const SOCKET_OPTION = {
  type: "value",
  value: "SOCKET",
  doc: "the Workload API, as unix:///PATH; without, SPIFFE_ENDPOINT_SOCKET, which `garrison run` sets for its command",
} as const satisfies OptionSpec;

const DEADLINE_MS = 15_000;

function socketOf(parsed: ParsedArguments): string {
  const text = parsed.value("socket") ?? process.env.SPIFFE_ENDPOINT_SOCKET;
  if (text !== undefined && text !== "") return parseEndpointSocket(text);
  throw new AppError("invalid-argument", "which Workload API is it?", {
    help: "run this by `garrison run -- CMD`, or say --socket unix:///PATH",
  });
}

/** How grpc-js words that there is no connection, with the reason inside. */
const NO_CONNECTION = /^No connection established\. Last error: (?:[A-Za-z]*Error: )?(.*?)\.? Resolution note: /;

function explain(socket: string, thrown: unknown): AppError {
  const error = fromGrpcError(thrown as ServiceError);
  const [, why] = NO_CONNECTION.exec(error.message) ?? [];
  if (why === undefined) return error;
  return new AppError("unavailable", `nobody serves the Workload API here: ${why}`, {
    where: socket,
    help: "is the agent running, is this its socket, and may this user open it?",
    cause: thrown,
  });
}

type Method<I extends DescMessage, O extends DescMessage> = DescMethod & { readonly input: I; readonly output: O };

/** Asks the Workload API once; of a stream the first message. Throws what it refuses, `unavailable` where nobody serves. */
export async function askWorkloadApi<I extends DescMessage, O extends DescMessage>(
  parsed: ParsedArguments,
  method: Method<I, O>,
  request: MessageInitShape<I>,
): Promise<MessageShape<O>> {
  const { path, responseStream, requestSerialize, responseDeserialize } = methodDefinition<I, O>(method);
  const socket = socketOf(parsed);
  const client = new Client(`unix:${socket}`, credentials.createInsecure());
  const metadata = new Metadata();
  metadata.set("workload.spiffe.io", "true");
  const options = { deadline: Date.now() + DEADLINE_MS };
  const message = create(method.input, request);
  const { promise, resolve, reject } = Promise.withResolvers<MessageShape<O>>();
  if (responseStream) {
    const call = client.makeServerStreamRequest(path, requestSerialize, responseDeserialize, message, metadata, options);
    call.on("error", (error) => reject(explain(socket, error)));
    call.once("data", (response: MessageShape<O>) => {
      resolve(response);
      call.cancel();
    });
  } else {
    client.makeUnaryRequest(path, requestSerialize, responseDeserialize, message, metadata, options, (error, response) => {
      if (error === null && response !== undefined) resolve(response);
      else reject(error === null ? new AppError("internal", "the agent gave an empty answer") : explain(socket, error));
    });
  }
  return promise.finally(() => client.close());
}
