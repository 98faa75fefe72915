/** Which key is to be made, as an operator says it, and its making. */
import { generateKeyPair, generateKeyPairSync, type KeyObject } from "node:crypto";
import { promisify } from "node:util";
import { AppError } from "../core/error.ts";

/** By the name that an operator gives. */
const KEY_SPECS = {
  "P-256": { kind: "ec", curve: "P-256" },
  "P-384": { kind: "ec", curve: "P-384" },
  "RSA-2048": { kind: "rsa", bits: 2048 },
  "RSA-3072": { kind: "rsa", bits: 3072 },
  "RSA-4096": { kind: "rsa", bits: 4096 },
  Ed25519: { kind: "ed25519" },
} as const;

export type KeySpec = keyof typeof KEY_SPECS;

export const DEFAULT_KEY_SPEC: KeySpec = "P-256";

/** What an authority's key may be. */
export const CA_KEY_SPECS: readonly KeySpec[] = ["P-256", "P-384", "RSA-2048", "RSA-3072", "RSA-4096", "Ed25519"];
/** What a workload's key may be: Envoy takes no Ed25519 certificate from its peers. */
export const LEAF_KEY_SPECS: readonly KeySpec[] = CA_KEY_SPECS.filter((spec) => spec !== "Ed25519");

/** `text` as one of `allowed`, in any case; `where` names what said it. Throws `invalid-argument`. */
export function parseKeySpec(where: string, text: string, allowed: readonly KeySpec[]): KeySpec {
  const spec = CA_KEY_SPECS.find((each) => each.toLowerCase() === text.toLowerCase());
  if (spec !== undefined && allowed.includes(spec)) return spec;
  const known = `it is one of ${allowed.join(", ")}`;
  if (spec !== undefined)
    throw new AppError("invalid-argument", `${where}: no workload has a key of ${spec}`, {
      help: `${known}; Envoy takes no ${spec} certificate from its peers`,
    });
  throw new AppError("invalid-argument", `${where}: \`${text.slice(0, 100)}\` is not a kind of key`, { help: known });
}

/** A new private key, at once: of RSA that may take a second. */
export function makeKey(spec: KeySpec): KeyObject {
  const how = KEY_SPECS[spec];
  if (how.kind === "rsa") return generateKeyPairSync("rsa", { modulusLength: how.bits }).privateKey;
  if (how.kind === "ed25519") return generateKeyPairSync("ed25519").privateKey;
  return generateKeyPairSync("ec", { namedCurve: how.curve }).privateKey;
}

const generateRsa = promisify(generateKeyPair);

/** A new private key; of RSA on another thread, so that an agent serves meanwhile. */
export async function makeKeyAside(spec: KeySpec): Promise<KeyObject> {
  const how = KEY_SPECS[spec];
  if (how.kind !== "rsa") return makeKey(spec);
  return (await generateRsa("rsa", { modulusLength: how.bits })).privateKey;
}
