/** A real Envoy as a child process, the one that tests find. */
import { EnvoyProcess as ProvingProcess, workFolder } from "../../src/prove/envoy-process.ts";
import type { BootstrapOptions } from "../../src/render/envoy/bootstrap.ts";
import { findEnvoy } from "./find-envoy.ts";

export { workFolder };

export type EnvoyProcess = ProvingProcess;

export const EnvoyProcess = {
  /** Starts it; it serves when `ready` resolves. */
  start(folder: string, options: Omit<BootstrapOptions, "adminSocket">): ProvingProcess {
    return ProvingProcess.start(findEnvoy() ?? "envoy", folder, options);
  },
};
