/** Gives an identity free while no control plane runs: one whose own identity is revoked does not start to be asked. */
import { existsSync } from "node:fs";
import { join } from "node:path";
import { AppError } from "../core/error.ts";
import { openLedgerDatabase } from "./ledger-database.ts";
import { Revocations } from "./revocations.ts";

const NAME = /^([^/:]+)\/([^/:]+)$/;

/** Whether a blocked SPIFFE ID is what was named, itself or as `NAMESPACE/SERVICE-ACCOUNT`: a state folder is of one trust domain. */
function isNamed(identity: string, name: string): boolean {
  const [, namespace, serviceAccount] = NAME.exec(name) ?? [];
  if (namespace === undefined || serviceAccount === undefined) return identity === name;
  return identity.endsWith(`/ns/${namespace}/sa/${serviceAccount}`);
}

/** The SPIFFE ID that was blocked. Throws `not-found` where it was not. */
function unblock(revocations: Revocations, name: string): string {
  const found = revocations.blocks.find(({ kind, value }) => kind === "identity" && isNamed(value, name));
  if (found === undefined) throw new AppError("not-found", `the identity \`${name.slice(0, 300)}\` is not revoked`);
  revocations.unblock(found.value);
  return found.value;
}

/**
 * Lets a revoked identity have certificates again; its SPIFFE ID. `now` in milliseconds. Throws `not-found`, `unavailable` while a control plane has the state folder,
 * `invalid-argument` where others share what is revoked.
 */
export function unblockOffline(stateFolder: string, name: string): string {
  const folder = join(stateFolder, "ca");
  const [ledger, file] = [join(folder, "ledger.sqlite"), join(folder, "revocations.sqlite")];
  for (const path of [ledger, file])
    if (!existsSync(path))
      throw new AppError("not-found", "there is no CA in this state folder", { where: path, help: "name another with --state" });
  if (existsSync(join(stateFolder, "ca-secret")))
    throw new AppError("invalid-argument", "replicas share what is revoked: what is given free at one alone would be taken back", {
      help: "ask a replica that runs, without `--offline`",
    });
  // By its lock the state folder is this process's alone.
  const lock = openLedgerDatabase(ledger);
  try {
    lock.exec("BEGIN IMMEDIATE");
    const revocations = new Revocations(file);
    try {
      return unblock(revocations, name);
    } finally {
      revocations.close();
    }
  } finally {
    lock.close();
  }
}
