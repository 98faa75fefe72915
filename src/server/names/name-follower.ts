/** One agent that follows the names of the mesh: updates go out one at a time, the newest next. */
import { create } from "@bufbuild/protobuf";
import { Metadata, type ServerDuplexStream } from "@grpc/grpc-js";
import type { NameTable } from "../../compile/names.ts";
import type { AppError } from "../../core/error.ts";
import { type NamesReport, type NamesUpdate, NamesUpdateSchema } from "../../gen/garrison/v1/names_pb.js";
import type { AdmittedAgent, AgentStream } from "../../rpc/agent-streams.ts";
import { endCall } from "../../rpc/status.ts";
import { changeTo, versionOf } from "./name-changes.ts";

export type NamesCall = ServerDuplexStream<NamesReport, NamesUpdate>;

export class NameFollower implements AgentStream {
  readonly workload: string;
  readonly expiresAt: number;
  readonly #call: NamesCall;
  #nonces = 0;
  #waitsFor: { readonly nonce: string; readonly table: NameTable } | undefined;
  /** What the agent has said to hold; of an earlier stream only its version is known. */
  #version: string;
  #table: NameTable | undefined;
  #ended = false;

  constructor(call: NamesCall, { workload, expiresAt }: AdmittedAgent, { version }: NamesReport) {
    [this.workload, this.expiresAt] = [workload, expiresAt];
    this.#call = call;
    this.#version = version;
    // Tells the client that it was admitted.
    call.sendMetadata(new Metadata());
  }

  /** Takes in what the agent says. */
  take({ nonce }: NamesReport): void {
    const sent = this.#waitsFor;
    if (sent?.nonce !== nonce) return;
    this.#waitsFor = undefined;
    this.#table = sent.table;
    this.#version = versionOf(sent.table);
  }

  /** Sends what makes the table of the one that the agent holds, unless it holds it, or an update waits for its answer. */
  offer(table: NameTable): void {
    if (this.#ended || this.#waitsFor !== undefined || this.#table === table) return;
    if (versionOf(table) === this.#version) {
      this.#table = table;
      return;
    }
    this.#nonces += 1;
    this.#waitsFor = { nonce: String(this.#nonces), table };
    this.#call.write(create(NamesUpdateSchema, { nonce: this.#waitsFor.nonce, change: changeTo(table, this.#table) }));
  }

  end(reason: AppError | undefined): void {
    if (this.#ended) return;
    this.#ended = true;
    endCall(this.#call, reason);
  }
}
