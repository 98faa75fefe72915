/** One agent that follows what it is to trust: updates go out one at a time, reports come in. */
import { create } from "@bufbuild/protobuf";
import { Metadata, type ServerDuplexStream } from "@grpc/grpc-js";
import { AppError } from "../core/error.ts";
import { type TrustReport, type TrustUpdate, TrustUpdateSchema } from "../gen/garrison/v1/trust_pb.js";
import type { AdmittedAgent, AgentStream } from "../rpc/agent-streams.ts";
import { endCall } from "../rpc/status.ts";
import type { TrustState } from "./trust-state.ts";

export type TrustCall = ServerDuplexStream<TrustReport, TrustUpdate>;

/** What is known of an agent that is connected. */
export interface TrustFollower extends AdmittedAgent {
  readonly address: string;
  /** Milliseconds. */
  readonly connectedAt: number;
  /** The newest state that the agent, its proxy and its other readers have in force; undefined before the first. */
  readonly holds: TrustState | undefined;
  /** Why it did not take the newest; empty where it did, or has not answered. */
  readonly refusal: string;
  /** Of the certificate in use, and of its issuer's key; hex. */
  readonly serial: string;
  readonly authority: string;
}

const MAX_REFUSAL = 500;
const REFUSED_MS = 10_000;
const KEY_ID = /^[0-9a-f]{1,128}$/;

/** The text, where it is one of an identifier. */
function hexText(text: string): string {
  if (text === "" || KEY_ID.test(text)) return text;
  throw new AppError("invalid-argument", "a report names its certificate and authority in hex");
}

export class FollowerStream implements TrustFollower, AgentStream {
  readonly workload: string;
  readonly identity: string;
  readonly expiresAt: number;
  readonly address: string;
  readonly connectedAt: number;
  readonly #call: TrustCall;
  /** What was sent and not answered yet. */
  #sent: { readonly nonce: string; readonly state: TrustState } | undefined;
  /** Sent last, answered or not. */
  #last: TrustState | undefined;
  #lastRevoked = "";
  #nonces = 0;
  #holds: TrustState | undefined;
  #refusal = "";
  #refusedAt: number | undefined;
  #serial = "";
  #authority = "";
  #ended = false;

  constructor(call: TrustCall, agent: AdmittedAgent, now: number) {
    ({ workload: this.workload, identity: this.identity, expiresAt: this.expiresAt } = agent);
    this.#call = call;
    this.address = call.getPeer();
    this.connectedAt = now;
    // Tells the client that it was admitted.
    call.sendMetadata(new Metadata());
  }

  get holds(): TrustState | undefined {
    return this.#holds;
  }

  get refusal(): string {
    return this.#refusal;
  }

  get serial(): string {
    return this.#serial;
  }

  get authority(): string {
    return this.#authority;
  }

  /** Takes in what the agent says. Throws `invalid-argument` for what is no report. */
  take({ nonce, refusal, serial, authority }: TrustReport, now: number): void {
    [this.#serial, this.#authority] = [hexText(serial), hexText(authority)];
    const sent = this.#sent;
    if (sent === undefined || sent.nonce !== nonce) return;
    this.#sent = undefined;
    this.#refusal = refusal.slice(0, MAX_REFUSAL);
    if (refusal === "") this.#holds = sent.state;
    else this.#refusedAt = now;
  }

  /** What was refused is offered again after a while: a proxy may have been busy. */
  forgive(now: number): void {
    if (this.#refusedAt === undefined || now - this.#refusedAt < REFUSED_MS) return;
    this.#refusedAt = undefined;
    this.#last = undefined;
  }

  /** Sends the state, and whether the certificate in use is revoked, unless an update waits for its answer: what comes next is then sent after it. */
  offer(state: TrustState, renewWithinMs: number, isRevoked: boolean): void {
    const revoked = isRevoked ? this.#serial : "";
    if (this.#ended || this.#sent !== undefined || (this.#last === state && (revoked === "" || revoked === this.#lastRevoked))) return;
    this.#nonces += 1;
    this.#sent = { nonce: String(this.#nonces), state };
    this.#last = state;
    this.#lastRevoked = revoked;
    const bundles = [...state.bundles].map(([trustDomain, { roots, jwks, sequence, refreshHintSeconds }]) => ({
      trustDomain,
      roots,
      jwks,
      sequence: BigInt(sequence),
      refreshHintSeconds,
    }));
    const update = {
      nonce: this.#sent.nonce,
      bundles,
      tainted: [...state.tainted],
      renewWithinMs,
      revoked,
      revocationList: state.revocationLists,
    };
    this.#call.write(create(TrustUpdateSchema, update));
  }

  end(reason: AppError | undefined): void {
    if (this.#ended) return;
    this.#ended = true;
    endCall(this.#call, reason);
  }
}
