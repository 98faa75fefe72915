/** Registration of machines, joined to the rest of the control plane. */
import type { Clock } from "../../core/clock.ts";
import { AppError } from "../../core/error.ts";
import type { Logger } from "../../core/logger.ts";
import { type AdmissionOptions, callerOf } from "../admission.ts";
import type { Configuration, MeshState } from "../mesh-state.ts";
import type { OpenedCluster } from "../source.ts";
import { ClusterEntries } from "./cluster-entries.ts";
import { FolderEntries } from "./folder-entries.ts";
import { RegistrationService } from "./service.ts";

export interface RegistrationsOptions {
  /** The state folder. */
  readonly folder: string;
  /** Whether the configuration is a cluster's: then the entries are its objects. */
  readonly isCluster: boolean;
  /** How long a member stays whose agent is away, in milliseconds. */
  readonly graceMs: number;
  /** Puts a configuration in force. */
  readonly apply: (configuration: Configuration) => void;
  readonly logger: Logger;
}

export interface ServedRegistrations {
  readonly mesh: MeshState;
  readonly admission: AdmissionOptions;
  readonly cluster: OpenedCluster | undefined;
  /** This control plane's name among its replicas. */
  readonly replica: string;
  readonly clock: Clock;
}

export interface Registrations {
  /** Puts a configuration in force, with the members that are kept here. */
  readonly apply: (configuration: Configuration) => void;
  /** Once there is a mesh to be a member of. */
  serve(parts: ServedRegistrations): RegistrationService;
  close(): Promise<void>;
}

/** Throws what `FolderEntries` does. */
export function openRegistrations({ folder, isCluster, graceMs, apply, logger }: RegistrationsOptions): Registrations {
  const kept = isCluster ? undefined : new FolderEntries({ folder, graceMs, apply, logger });
  let service: RegistrationService | undefined;
  let closeStore = async (): Promise<void> => kept?.close();
  return {
    apply: kept === undefined ? apply : (configuration) => kept.apply(configuration),
    serve: ({ mesh, admission, cluster, replica, clock }) => {
      const objects = cluster === undefined ? undefined : new ClusterEntries({ ...cluster, replica, clock, logger });
      const store = objects ?? kept;
      if (store === undefined) throw new AppError("internal", "a cluster's entries have no cluster");
      closeStore = () => store.close();
      const served = new RegistrationService({
        store,
        snapshot: () => mesh.current.snapshot,
        callerOf: (certificate) => callerOf(certificate, admission),
        isRevoked: (serial) => admission.trust().isRevoked(serial),
        clock,
        logger,
      });
      mesh.onChange(() => {
        served.refresh();
        objects?.refresh();
      });
      service = served;
      return served;
    },
    close: async () => {
      await service?.close();
      await closeStore();
    },
  };
}
