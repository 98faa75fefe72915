/** What Prometheus is told of a control plane's state, read when it asks. */
import { parseProxyView } from "../publisher.ts";
import { PROCESS_READINGS } from "./process-readings.ts";
import { type MetricSources, type Reading, type Sample, single } from "./reading.ts";

/** How many there are of each, of one label. */
function countBy(label: string, words: readonly string[]): readonly Sample[] {
  return [...Map.groupBy(words, (word) => word)].map(([word, { length: value }]) => ({ [label]: word, value }));
}

/** In Prometheus' unit. */
const seconds = (milliseconds: number): number => milliseconds / 1000;

/** When what ends first ends; none where there is nothing to end. */
function soonest(certificate: string, times: readonly (number | undefined)[]): readonly Sample[] {
  const ends = times.filter((time) => time !== undefined);
  return ends.length === 0 ? [] : [{ certificate, value: seconds(ends.reduce((first, time) => Math.min(first, time))) }];
}

function expiries({ authority, serving, connections }: MetricSources): readonly Sample[] {
  return [
    ...soonest("signer", [authority.status.notAfter]),
    ...soonest(
      "root",
      authority.trust.roots.map(({ notAfter }) => notAfter),
    ),
    ...soonest("serving", [serving.status.notAfter]),
    ...soonest(
      "proxy",
      connections().map(({ expiresAt }) => expiresAt),
    ),
  ];
}

function problems({ authority, serving, clusters }: MetricSources): readonly Sample[] {
  const told = (part: string, problem: string | undefined): Sample => ({ part, value: problem === undefined ? 0 : 1 });
  const own = clusters().find(({ state }) => state === "own");
  return [
    told("ca", authority.status.problem),
    told("serving", serving.status.problem),
    ...(own === undefined ? [] : [told("cluster", own.problem)]),
  ];
}

function proxies({ connections }: MetricSources): readonly Sample[] {
  const groups = Map.groupBy(connections(), ({ key, state }) => `${parseProxyView(key).kind} ${state}`);
  return [...groups].map(([group, { length: value }]) => {
    const [proxy = "", state = ""] = group.split(" ");
    return { proxy, state, value };
  });
}

export const READINGS: readonly Reading[] = [
  {
    kind: "gauge",
    name: "garrison_build_info",
    help: "1, with the version",
    labels: ["version"],
    read: ({ version }) => [{ version, value: 1 }],
  },
  {
    kind: "gauge",
    name: "garrison_certificate_expiry_timestamp_seconds",
    help: "When certificates expire: the CA's that signs, the root that does first, the control plane's own, and of those that connected proxies came with the one that does first",
    labels: ["certificate"],
    read: expiries,
  },
  {
    kind: "gauge",
    name: "garrison_problem",
    help: "1 while `garrison status` tells of a problem: of the CA, of the control plane's own certificate, of the cluster that is watched",
    labels: ["part"],
    read: problems,
  },
  single(
    "gauge",
    "garrison_revoked_certificates",
    "Certificates that are revoked and have not expired",
    ({ authority, clock }) => authority.revocations.certificates(clock.now()).length,
  ),
  single(
    "gauge",
    "garrison_revocation_blocks",
    "Identities and keys that get no certificates any more",
    ({ authority }) => authority.revocations.blocks.length,
  ),
  single("gauge", "garrison_workloads", "Workloads of the mesh", ({ mesh }) => mesh.current.snapshot.workloads.size),
  {
    kind: "gauge",
    name: "garrison_connected_proxies",
    help: "Proxies that are connected: acked runs the newest configuration, pending has not answered, rejected has refused a part",
    labels: ["proxy", "state"],
    read: proxies,
  },
  single("gauge", "garrison_connected_agents", "Agents that follow the trust bundle", ({ followers }) => followers()),
  {
    kind: "gauge",
    name: "garrison_configuration_problems",
    help: "What is wrong with the configuration in force, as `garrison status` lists it",
    labels: ["severity"],
    read: ({ mesh }) => [
      { severity: "error", value: mesh.problems.errors },
      { severity: "warning", value: mesh.problems.warnings },
    ],
  },
  single(
    "gauge",
    "garrison_kept_objects",
    "Objects of which the last valid form is in force, since the present one is broken",
    ({ mesh }) => mesh.current.kept.size,
  ),
  {
    kind: "gauge",
    name: "garrison_clusters",
    help: "Clusters of the mesh, by how it stands with them",
    labels: ["state"],
    read: ({ clusters }) =>
      countBy(
        "state",
        clusters().map(({ state }) => state),
      ),
  },
  {
    kind: "gauge",
    name: "garrison_leads",
    help: "1 at the replica that holds the Lease, and writes statuses, roots and Secrets; 0 at the others",
    labels: [],
    read: ({ leads }) => {
      const held = leads();
      return held === undefined ? [] : [{ value: held ? 1 : 0 }];
    },
  },
  {
    kind: "gauge",
    name: "garrison_federated_domains",
    help: "Other trust domains and sources of roots, by whether their bundle is trusted at the moment",
    labels: ["state"],
    read: ({ domains }) =>
      countBy(
        "state",
        domains().map(({ state }) => state),
      ),
  },
  {
    kind: "gauge",
    name: "garrison_watch_silence_seconds",
    help: "For how long the API server has said nothing of a kind; it says something within five minutes",
    labels: ["kind"],
    read: ({ watches }) => watches().map(({ kind, silenceMs }) => ({ kind, value: seconds(silenceMs) })),
  },
  {
    kind: "counter",
    name: "garrison_watch_restarts_total",
    help: "How often a watch broke, or could not begin",
    labels: ["kind"],
    read: ({ watches }) => watches().map(({ kind, restarts: value }) => ({ kind, value })),
  },
  {
    kind: "gauge",
    name: "garrison_watched_objects",
    help: "Objects that the API server has",
    labels: ["kind"],
    read: ({ watches }) => watches().map(({ kind, objects: value }) => ({ kind, value })),
  },
  single("gauge", "garrison_record_decisions", "Decisions that are in the record", ({ store }) => store.stats().records),
  single("gauge", "garrison_record_bytes", "What they take on the disk", ({ store }) => store.bytes),
  single("counter", "garrison_record_written_total", "Decisions that were written", ({ store }) => store.stats().appended),
  single(
    "counter",
    "garrison_record_dropped_total",
    "Decisions that could not be written, and are lost",
    ({ store }) => store.stats().dropped,
  ),
  ...PROCESS_READINGS,
];
