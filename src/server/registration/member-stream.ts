/** One agent's stream as a member of its group, from its first report to its end. */
import { create } from "@bufbuild/protobuf";
import { Metadata, type ServerDuplexStream } from "@grpc/grpc-js";
import { AppError } from "../../core/error.ts";
import { Health, type Registration, type RegistrationReport, RegistrationSchema } from "../../gen/garrison/v1/registration_pb.js";
import type { WorkloadGroupObject } from "../../policy/model.ts";
import { endCall } from "../../rpc/status.ts";
import type { Caller } from "../admission.ts";
import type { AdmittedMember } from "./claim.ts";
import type { Member, ReportedHealth } from "./member.ts";
import { probeMessage } from "./probe-message.ts";

export type RegistrationCall = ServerDuplexStream<RegistrationReport, Registration>;

const MAX_DETAIL = 300;

/** What a report says of the application; undefined where it says nothing. */
export function reportedHealth({ health, detail }: RegistrationReport): ReportedHealth | undefined {
  if (health === Health.HEALTHY) return { healthy: true, detail: "" };
  return health === Health.UNHEALTHY ? { healthy: false, detail: detail.slice(0, MAX_DETAIL) } : undefined;
}

export class MemberStream {
  readonly member: Member;
  readonly caller: Caller;
  readonly #call: RegistrationCall;
  /** Of now; another object when it has changed. */
  group: WorkloadGroupObject;
  /** Whether the agent was told that it is a member. */
  told = false;
  ended = false;
  /** The agent's last word is being acted on: that it says nothing more is no end. */
  leaving = false;
  /** What was said last of its application. */
  health: ReportedHealth | undefined;
  #turn: Promise<void> = Promise.resolve();

  constructor(call: RegistrationCall, { member, group }: AdmittedMember, caller: Caller) {
    this.#call = call;
    [this.member, this.group, this.caller] = [member, group, caller];
    call.sendMetadata(new Metadata());
  }

  /** Where the connection comes from. */
  get peer(): string {
    return this.#call.getPeer();
  }

  /** One after the other, so that what is kept last is what was said last. The first that fails ends the stream. */
  inTurn(work: () => Promise<void>, fail: (reason: AppError) => void): void {
    this.#turn = this.#turn
      .then(async () => {
        if (!this.ended || this.leaving) await work();
      })
      .catch((thrown: unknown) => fail(AppError.from(thrown)));
  }

  /** What is under way has ended. */
  get settled(): Promise<void> {
    return this.#turn;
  }

  /** Says that the member is in force, and what is to be asked of its application. */
  tell(): void {
    if (this.ended) return;
    this.told = true;
    const { probe } = this.group;
    const init = { workload: this.member.workload, ...(probe === undefined ? {} : { probe: probeMessage(probe) }) };
    this.#call.write(create(RegistrationSchema, init));
  }

  end(reason: AppError | undefined): void {
    if (this.ended) return;
    this.ended = true;
    endCall(this.#call, reason);
  }
}
