/** `garrison.v1.WorkloadRegistration`: machines are members of a group for as long as their agents say so. */
import type { Clock } from "../../core/clock.ts";
import { AppError } from "../../core/error.ts";
import type { Logger } from "../../core/logger.ts";
import type { RegistrationReport } from "../../gen/garrison/v1/registration_pb.js";
import type { MeshSnapshot } from "../../mesh/snapshot.ts";
import { peerCertificateOf } from "../../rpc/peer-certificate.ts";
import { RateLimit } from "../../rpc/rate-limit.ts";
import { endCall } from "../../rpc/status.ts";
import type { Caller } from "../admission.ts";
import { admitMember, type Claim } from "./claim.ts";
import { MemberStream, type RegistrationCall, reportedHealth } from "./member-stream.ts";
import type { EntryStore } from "./store.ts";

export interface RegistrationServiceOptions {
  readonly store: EntryStore;
  readonly snapshot: () => MeshSnapshot;
  /** Whose certificate it is, and until when. Throws `unauthenticated`. */
  readonly callerOf: (certificate: Uint8Array | undefined) => Caller;
  /** Whether a certificate is revoked by now. */
  readonly isRevoked: (serial: string) => boolean;
  readonly clock: Clock;
  readonly logger: Logger;
}

const MAX_STREAMS = 20_000;
const FIRST_REPORT_MS = 10_000;
/** From the store's answer until the entry is in force. */
const IN_FORCE_MS = 10_000;
const TICK_MS = 1_000;
/** Of one identity, whose machines all come together when the control plane has been away: no longer than they are waited for. */
const ARRIVALS = { perSecond: 200, atOnce: 2_000 };
/** Of one member: each of its reports may be a push to others. */
const REPORTS = { perSecond: 2, atOnce: 20 };

export class RegistrationService {
  readonly #options: RegistrationServiceOptions;
  readonly #arrivals: RateLimit;
  readonly #reports: RateLimit;
  /** By workload. */
  readonly #members = new Map<string, MemberStream>();
  readonly #waiting = new Map<MemberStream, () => void>();
  readonly #timer: NodeJS.Timeout;
  #streams = 0;
  #closed = false;

  constructor(options: RegistrationServiceOptions) {
    this.#options = options;
    const { clock } = options;
    this.#arrivals = new RateLimit({ ...ARRIVALS, clock });
    this.#reports = new RateLimit({ ...REPORTS, clock });
    this.#timer = setInterval(() => this.#tick(), TICK_MS).unref();
  }

  /** The handler of the stream. */
  get register(): (call: RegistrationCall) => void {
    return (call) => this.#open(call);
  }

  /** The mesh is another: who may not be a member any more is told to go. */
  refresh(): void {
    const snapshot = this.#options.snapshot();
    for (const stream of [...this.#members.values()]) this.#check(stream, snapshot);
  }

  /** Ends all streams. The members stay: their agents come back, here or elsewhere. */
  async close(): Promise<void> {
    this.#closed = true;
    clearInterval(this.#timer);
    const streams = [...this.#members.values()];
    for (const stream of streams) stream.end(new AppError("unavailable", "the control plane is shutting down"));
    await Promise.all(streams.map(({ settled }) => settled));
  }

  #open(call: RegistrationCall): void {
    call.on("error", () => undefined);
    if (this.#closed || this.#streams >= MAX_STREAMS) {
      endCall(call, new AppError("resource-exhausted", "too many machines are registered"));
      return;
    }
    this.#streams += 1;
    let stream: MemberStream | undefined;
    let over = false;
    const end = (reason: AppError | undefined): void => {
      if (over) return;
      over = true;
      this.#streams -= 1;
      clearTimeout(late);
      if (stream !== undefined) this.#end(stream, reason);
      // Also where the agent has said nothing and is done: a call that nobody ends stays as long as its connection.
      else endCall(call, reason);
    };
    const late = setTimeout(() => end(new AppError("deadline-exceeded", "the stream did not begin with a report")), FIRST_REPORT_MS);
    call.on("data", (report: RegistrationReport) => {
      if (over) return;
      clearTimeout(late);
      try {
        stream ??= this.#admit(call, report, end);
        this.#take(stream, report, end);
      } catch (thrown) {
        end(AppError.from(thrown));
      }
    });
    for (const event of ["cancelled", "close"]) call.on(event, () => end(undefined));
    call.on("end", () => {
      if (stream?.leaving !== true) end(undefined);
    });
  }

  #admit(call: RegistrationCall, { group, address }: RegistrationReport, end: (reason: AppError) => void): MemberStream {
    const caller = this.#options.callerOf(peerCertificateOf(call)?.raw);
    this.#arrivals.take(caller.identity);
    const admitted = admitMember(this.#options.snapshot(), { identity: caller.identity, group, address, peer: call.getPeer() });
    const { member } = admitted;
    this.#reports.take(member.workload);
    for (const other of this.#members.values()) {
      if (other.member.address !== member.address || other.member.workload === member.workload) continue;
      throw new AppError("already-exists", `the address \`${member.address}\` is that of WorkloadEntry ${other.member.workload}`);
    }
    // An agent that comes back may be here before its old connection is known to be gone.
    const before = this.#members.get(member.workload);
    const stream = new MemberStream(call, admitted, caller);
    this.#members.set(member.workload, stream);
    before?.end(new AppError("already-exists", "another agent has registered with this address"));
    stream.inTurn(() => this.#connect(stream), end);
    return stream;
  }

  /** The member is told when all else of the control plane knows it: its proxy may come then. */
  async #connect(stream: MemberStream): Promise<void> {
    const { store, logger } = this.#options;
    await store.connect(stream.member, stream.group);
    await this.#inForce(stream);
    const { workload, address } = stream.member;
    if (!stream.told) logger.log("info", "a machine is registered", { workload, address, group: stream.member.group });
    stream.tell();
  }

  #isInForce({ member, caller }: MemberStream): boolean {
    const found = this.#options.snapshot().workloads.get(member.workload);
    return found?.address === member.address && found.identity === caller.identity && found.health?.group !== undefined;
  }

  #inForce(stream: MemberStream): Promise<void> {
    if (this.#isInForce(stream)) return Promise.resolve();
    return new Promise((resolve, reject) => {
      const late = new AppError("unavailable", `the WorkloadEntry \`${stream.member.workload}\` is written, and not in force`);
      const settle = (failure?: AppError): void => {
        clearTimeout(timer);
        this.#waiting.delete(stream);
        if (failure === undefined) resolve();
        else reject(failure);
      };
      const timer = setTimeout(() => settle(late), IN_FORCE_MS);
      this.#waiting.set(stream, () => {
        if (stream.ended) settle(new AppError("unavailable", "the agent is gone"));
        else if (this.#isInForce(stream)) settle();
      });
    });
  }

  #take(stream: MemberStream, report: RegistrationReport, end: (reason: AppError | undefined) => void): void {
    const { store } = this.#options;
    const { member } = stream;
    if (stream.leaving) return;
    if (report.leaving) {
      stream.leaving = true;
      stream.inTurn(() => this.#leave(stream).then(() => end(undefined)), end);
      return;
    }
    const health = reportedHealth(report);
    if (health === undefined || (health.healthy === stream.health?.healthy && health.detail === stream.health.detail)) return;
    this.#reports.take(member.workload);
    stream.health = health;
    stream.inTurn(() => store.report(member, health), end);
  }

  /** Also where the agent did not wait for it; not where another has come in its place. */
  async #leave(stream: MemberStream): Promise<void> {
    const { store, logger } = this.#options;
    const { member } = stream;
    const now = this.#members.get(member.workload);
    if (now !== undefined && now !== stream) return;
    await store.leave(member);
    logger.log("info", "a machine has left", { workload: member.workload });
  }

  /** Its group, its identity and its address are what they were; and its entry is there. */
  #check(stream: MemberStream, snapshot: MeshSnapshot): void {
    const { member, peer } = stream;
    const { identity, serial } = stream.caller;
    this.#waiting.get(stream)?.();
    if (stream.leaving) return;
    const claim: Claim = { identity, group: member.group, address: member.address, peer };
    try {
      if (this.#options.isRevoked(serial)) throw new AppError("unauthenticated", "the certificate is revoked");
      const { group } = admitMember(snapshot, claim);
      if (stream.told && !snapshot.workloads.has(member.workload))
        throw new AppError("unavailable", `the WorkloadEntry \`${member.workload}\` was taken away`);
      if (group === stream.group) return;
      stream.group = group;
      stream.inTurn(
        () => this.#connect(stream),
        (reason) => this.#end(stream, reason),
      );
    } catch (thrown) {
      this.#end(stream, AppError.from(thrown));
    }
  }

  /** Members whose certificates have expired, and did not come with others. */
  #tick(): void {
    const now = this.#options.clock.now();
    for (const stream of [...this.#members.values()])
      if (now >= stream.caller.expiresAt)
        this.#end(stream, new AppError("unauthenticated", "the certificate that opened the stream has expired"));
  }

  #end(stream: MemberStream, reason: AppError | undefined): void {
    stream.end(reason);
    this.#waiting.get(stream)?.();
    const { member } = stream;
    if (this.#members.get(member.workload) !== stream) return;
    this.#members.delete(member.workload);
    if (this.#closed) return;
    const { store, logger } = this.#options;
    logger.log(reason === undefined ? "debug" : "warn", "a machine's registration stream ended", {
      workload: member.workload,
      reason: reason?.message,
    });
    store.disconnect(member);
  }
}
