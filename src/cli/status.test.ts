import assert from "node:assert/strict";
import { describe, it } from "node:test";
import type { ProxyStatus, WorkloadStatus } from "../server/status.ts";
import { troubleOf } from "./settled-proxies.ts";
import { formatStatus, type StatusAnswer } from "./status.ts";

const ANSWER = {
  version: "0",
  listen: "127.0.0.1:15012",
  trustDomain: "cluster.local",
  rssBytes: 0,
  uptimeSeconds: 1,
  ca: { source: "own", keyKind: "P-256", serial: "1", notAfter: 0, intermediates: 0, roots: 1 },
  serving: { identity: "", serial: "5e", authority: "", notAfter: 0 },
  clusters: [],
  federation: [],
  jwks: [],
  generation: 1,
  workloads: [],
  policies: [],
  diagnostics: [],
} as unknown as StatusAnswer;

describe("formatStatus", () => {
  it("marks a policy that is in force in its last valid form, and one that never had one", () => {
    const policies = (["valid", "kept", "closed"] as const).map((state) => ({
      policy: `P shop/${state}`,
      state,
      workloads: 1,
      enforced: 1,
    }));
    const [valid, kept, closed] = formatStatus({ ...ANSWER, policies })
      .split("\n")
      .filter((line) => line.startsWith("  P "));
    assert.match(valid ?? "", /valid {3}enforced on 1 of 1/);
    assert.match(kept ?? "", /kept +BROKEN, its last valid form is {2}enforced on 1 of 1/);
    assert.match(closed ?? "", /closed +INVALID, closed {2}enforced on 1 of 1/);
  });

  it("says when the control plane's own certificate could not be renewed, and why", () => {
    assert.doesNotMatch(formatStatus(ANSWER), /NOT RENEWED/);
    const serving = { ...ANSWER.serving, problem: "the disk is full" };
    assert.match(
      formatStatus({ ...ANSWER, serving }),
      /\nNOT RENEWED: .*serial 5e, good until 1970-01-01T00:00:00.000Z: the disk is full\n/,
    );
  });

  it("tells of clusters where there are several: since when each is what it is, and what is wrong with it", () => {
    const east = { name: "east", state: "own", pods: 1, problem: undefined } as const;
    const west = {
      name: "west",
      state: "away",
      since: 0,
      pods: 2,
      problem: "cannot be reached",
      namespaces: ["shop"],
      secret: "a/b",
      server: "https://x",
    } as const;
    assert.doesNotMatch(formatStatus({ ...ANSWER, clusters: [east] }), /Clusters:/);
    assert.match(
      formatStatus({ ...ANSWER, clusters: [east, west] }),
      /^Clusters:\n {2}east own: its policies hold for all, 1 pod\n {2}west away since 1970-01-01T00:00:00\.000Z, 2 pods, speaks for shop alone\n {4}https:\/\/x, Secret a\/b\n {4}cannot be reached\n/m,
    );
  });

  it("tells of bundles and keys that could not be fetched, and of no others", () => {
    const good = {
      trustDomain: "east.example",
      url: "https://east.example/b",
      profile: "https_web",
      state: "trusted",
      failure: "",
    } as const;
    const bad = { ...good, trustDomain: "west.example", url: "https://west.example/b", state: "waiting", failure: "no answer" } as const;
    const keys = { source: "https://a.example/keys", kids: ["k"], fetchedAt: 0, error: undefined };
    assert.doesNotMatch(formatStatus({ ...ANSWER, federation: [good], jwks: [keys] }), /NOT FETCHED/);
    const text = formatStatus({
      ...ANSWER,
      federation: [good, bad],
      jwks: [keys, { ...keys, source: "https://b.example/keys", kids: [], error: "refused" }],
    });
    assert.match(
      text,
      /\nNOT FETCHED:\n {2}the bundle of west\.example \(waiting\), from https:\/\/west\.example\/b: no answer\n {2}the keys of https:\/\/b\.example\/keys \(none is known\): refused\n\nWorkloads:/,
    );
  });

  it("says so where there is no workload and no policy", () => {
    assert.match(formatStatus(ANSWER), /\nWorkloads:\n {2}none\n\nPolicies:\n {2}none\n/);
  });
});

describe("troubleOf", () => {
  const workload = (...proxies: readonly Partial<ProxyStatus>[]): WorkloadStatus =>
    ({
      workload: "shop/cart",
      identity: "",
      address: "",
      proxies: proxies.map((each) => ({ refused: [], ...each })),
    }) as unknown as WorkloadStatus;

  it("is what a proxy refuses, or that it has not answered, and nothing where all is well", () => {
    assert.equal(troubleOf(workload({ state: "acked" })), undefined);
    assert.equal(troubleOf(workload({ state: "rejected", refused: [{ names: ["a"], message: "in use\n" }] })), "in use");
    assert.match(troubleOf(workload({ state: "pending" })) ?? "", /not taken its configuration/);
    assert.match(troubleOf(workload()) ?? "", /not taken its configuration/);
  });
});
