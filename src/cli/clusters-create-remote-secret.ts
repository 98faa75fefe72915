import { stringify } from "yaml";
import { PREPARE_OPTIONS, prepare } from "./clusters/options.ts";
import type { Command } from "./command.ts";
import { EXIT } from "./exit.ts";

export const command: Command = {
  name: "clusters create-remote-secret",
  summary:
    "Gives a control plane elsewhere an account in this cluster that reads workloads and reviews tokens, and prints the Secret that tells it so. Whoever has that Secret has the account.",
  options: PREPARE_OPTIONS,
  examples: [
    "garrison clusters create-remote-secret --kubeconfig west.kubeconfig --name west | kubectl apply -f -",
    "garrison clusters create-remote-secret --name west --server https://10.1.0.1:6443 --only-namespace shop",
  ],
  run: async (parsed) => {
    const { secret } = await prepare(parsed, (line) => void process.stderr.write(`${line}\n`));
    process.stdout.write(stringify(secret));
    return EXIT.ok;
  },
};
