/** Where the entries of registered members are kept: in the API server, or in the state folder. */
import type { WorkloadGroupObject } from "../../policy/model.ts";
import type { Member, ReportedHealth } from "./member.ts";

export interface EntryStore {
  /** Makes the member's entry, or brings it up to its group and takes it over. It is in force some time after. Throws what keeps it from being made. */
  connect(member: Member, group: WorkloadGroupObject): Promise<void>;
  /** The member's health is another. Throws where it cannot be kept. */
  report(member: Member, health: ReportedHealth): Promise<void>;
  /** The agent's connection ended: the entry goes after a while, unless the agent comes back, here or elsewhere. */
  disconnect(member: Member): void;
  /** The entry goes at once. Throws where it cannot be taken away: it then goes after a while. */
  leave(member: Member): Promise<void>;
  close(): Promise<void>;
}
