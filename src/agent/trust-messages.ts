/** The messages of `garrison.v1.TrustBundles` (proto/garrison/v1/trust.proto). */
import type { MethodDefinition } from "@grpc/grpc-js";
import { encodeMessage, readFields, textOf } from "./protobuf.ts";

/** What verifies the certificates and tokens of one trust domain. */
export interface ReceivedBundle {
  readonly trustDomain: string;
  /** PEM. */
  readonly roots: string;
  /** A JSON Web Key Set; empty where there is none. */
  readonly jwks: string;
  readonly sequence: number;
  readonly refreshHintSeconds: number;
}

export interface TrustUpdate {
  readonly nonce: string;
  readonly bundles: readonly ReceivedBundle[];
  /** Key identifiers, in hex, of authorities whose certificates are to be replaced. */
  readonly tainted: readonly string[];
  readonly renewWithinMs: number;
  /** The serial number of the certificate in use, where it was revoked; empty otherwise. */
  readonly revoked: string;
  /** PEM of lists by which clients refuse servers of the mesh; empty for none. */
  readonly revocationList: string;
}

export interface TrustReport {
  /** `NAMESPACE/NAME`. */
  readonly workload: string;
  /** Of the update that is in force; empty before the first. */
  readonly nonce: string;
  /** Why it is not in force; empty where it is. */
  readonly refusal: string;
  /** The certificate in use, and the key identifier of its issuer; hex. */
  readonly serial: string;
  readonly authority: string;
}

function bundleOf(bytes: Uint8Array): ReceivedBundle {
  let [trustDomain, roots, jwks] = ["", "", ""];
  let [sequence, refreshHintSeconds] = [0, 0];
  readFields(
    bytes,
    { 1: (value) => (trustDomain = textOf(value)), 2: (value) => (roots = textOf(value)), 3: (value) => (jwks = textOf(value)) },
    { 4: (value) => (sequence = value), 5: (value) => (refreshHintSeconds = value) },
  );
  return { trustDomain, roots, jwks, sequence, refreshHintSeconds };
}

export function decodeTrustUpdate(bytes: Uint8Array): TrustUpdate {
  let nonce = "";
  const bundles: ReceivedBundle[] = [];
  const tainted: string[] = [];
  let renewWithinMs = 0;
  let revoked = "";
  let revocationList = "";
  readFields(
    bytes,
    {
      1: (value) => (nonce = textOf(value)),
      2: (value) => bundles.push(bundleOf(value)),
      3: (value) => tainted.push(textOf(value)),
      5: (value) => (revoked = textOf(value)),
      6: (value) => (revocationList = textOf(value)),
    },
    { 4: (value) => (renewWithinMs = value) },
  );
  return { nonce, bundles, tainted, renewWithinMs, revoked, revocationList };
}

export function encodeTrustReport({ workload, nonce, refusal, serial, authority }: TrustReport): Buffer {
  return encodeMessage([
    [1, workload],
    [2, nonce],
    [3, refusal],
    [4, serial],
    [5, authority],
  ]);
}

type FollowMethod = Pick<MethodDefinition<TrustReport, TrustUpdate>, "path" | "requestSerialize" | "responseDeserialize">;

export const FOLLOW: FollowMethod = {
  path: "/garrison.v1.TrustBundles/Follow",
  requestSerialize: encodeTrustReport,
  responseDeserialize: decodeTrustUpdate,
};
