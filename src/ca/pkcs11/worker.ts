/** The thread that holds the token: whatever time it takes, the control plane goes on. */
import { parentPort, workerData } from "node:worker_threads";
import { AppError } from "../../core/error.ts";
import { plainError, type TokenRequest, type TokenResult } from "./messages.ts";
import type { Pkcs11Module } from "./session.ts";
import { Token } from "./token.ts";
import type { KeyLocation } from "./uri.ts";

/** A native module that is built where it is installed: without a compiler it is not there. */
async function loadModule(): Promise<Pkcs11Module> {
  try {
    return (await import("pkcs11js")).default;
  } catch (cause) {
    throw new AppError("unsupported", "tokens cannot be used: the package `pkcs11js` is not there, or could not be built", {
      help: "install a C++ compiler, make and Python 3, then run `npm ci` again",
      cause,
    });
  }
}

const port = parentPort;
if (port === null) throw new Error("this file is a thread's");
const location = workerData as KeyLocation;
let token: Token | undefined;

async function answer(request: TokenRequest): Promise<TokenResult> {
  token ??= new Token(await loadModule(), location);
  if (request.kind === "open") return { kind: "opened", key: token.open(request.make) };
  if (request.kind === "sign") return { kind: "signed", signature: token.sign(request.body, request.spki) };
  token.probe(request.spki);
  return { kind: "usable" };
}

port.on("message", ({ id, request }: { readonly id: number; readonly request: TokenRequest }) => {
  answer(request).then(
    (result) => port.postMessage({ id, result }),
    (error: unknown) => port.postMessage({ id, result: { kind: "failed", error: plainError(AppError.from(error)) } satisfies TokenResult }),
  );
});
