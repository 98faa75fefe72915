// intruder: serves nothing. It has a valid certificate, of a service account that no policy names, and tries what it is told.
import process from "node:process";
import { stopOnSignal } from "./service.mjs";
import { startTryServer } from "./try-server.mjs";

const tries = startTryServer("intruder");
if (tries === undefined) {
  console.error("set GARRISON_TRY_SOCKET to the Unix socket to be told on: there is nothing else to do here");
  process.exit(1);
}
stopOnSignal(() => tries.close());
