import assert from "node:assert/strict";
import { statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { setImmediate as turn } from "node:timers/promises";
import { until } from "../../../test/fakes/processes.ts";
import { tempFolder } from "../../../test/fixture/temp-folder.ts";
import { objectsOf } from "../../../test/fixture/yaml-mesh.ts";
import type { MeshObject, WorkloadEntryObject, WorkloadGroupObject } from "../../policy/model.ts";
import { FolderEntries } from "./folder-entries.ts";
import { type Member, memberOf } from "./member.ts";

const GROUP = `apiVersion: networking.istio.io/v1
kind: WorkloadGroup
metadata: { name: web, namespace: shop }
spec:
  metadata: { labels: { app: web }, annotations: { sidecar.istio.io/interceptionMode: REDIRECT } }
  template: { serviceAccount: web, ports: { http: 8080 } }
  probe: { tcpSocket: { port: 1 } }
`;
const LOGGER = { log: () => undefined };

class Scene {
  readonly folder: string;
  readonly entries: FolderEntries;
  #applied: readonly MeshObject[] = [];
  applied = 0;

  constructor(folder: string, graceMs = 60_000) {
    this.folder = folder;
    const apply = ({ objects }: { readonly objects: readonly MeshObject[] }): void => {
      this.#applied = objects;
      this.applied += 1;
    };
    this.entries = new FolderEntries({ folder, graceMs, apply, logger: LOGGER });
  }

  apply(yaml: string): readonly MeshObject[] {
    const objects = objectsOf(yaml);
    this.entries.apply({ objects, diagnostics: [] });
    return objects;
  }

  get members(): readonly WorkloadEntryObject[] {
    return this.#applied.filter((object) => object.kind === "WorkloadEntry");
  }
}

function joined(objects: readonly MeshObject[], address: string): readonly [Member, WorkloadGroupObject] {
  const [group] = objects.filter((object) => object.kind === "WorkloadGroup");
  if (group === undefined) throw new Error("no group");
  return [memberOf(group, address), group];
}

describe("registered members without a cluster", () => {
  it("stand beside the configuration, as their group says, and not ready until they are healthy", async (t) => {
    const scene = new Scene(tempFolder(t));
    const [member, group] = joined(scene.apply(GROUP), "10.0.0.1");
    await scene.entries.connect(member, group);
    await turn();
    const [entry] = scene.members;
    assert.deepEqual(
      [entry?.meta.name, entry?.address, entry?.serviceAccount, entry?.labels.get("app"), entry?.ports.get("http"), entry?.health],
      ["web-10.0.0.1", "10.0.0.1", "web", "web", 8080, { state: "unknown", detail: "", group: "web" }],
    );
    assert.equal(entry?.meta.annotations.get("sidecar.istio.io/interceptionMode"), "REDIRECT");
    await scene.entries.report(member, { healthy: false, detail: "ill" });
    await turn();
    assert.deepEqual(scene.members[0]?.health, { state: "unhealthy", detail: "ill", group: "web" });
    scene.apply(GROUP.replace("app: web", "app: shop"));
    assert.equal(scene.members[0]?.labels.get("app"), "shop");
    scene.apply(GROUP.replace("name: web,", "name: gone,"));
    assert.deepEqual(scene.members, []);
    await scene.entries.close();
  });

  it("are the same objects for as long as nothing about them changes", async (t) => {
    const scene = new Scene(tempFolder(t));
    const objects = scene.apply(GROUP);
    const [member, group] = joined(objects, "10.0.0.1");
    await scene.entries.connect(member, group);
    await turn();
    const [before] = scene.members;
    scene.entries.apply({ objects, diagnostics: [] });
    assert.equal(scene.members[0], before);
    await scene.entries.close();
  });

  it("that come together are put in force together", async (t) => {
    const scene = new Scene(tempFolder(t));
    const objects = scene.apply(GROUP);
    for (let host = 1; host <= 100; host += 1) await scene.entries.connect(...joined(objects, `10.0.0.${host}`));
    await turn();
    assert.deepEqual([scene.members.length, scene.applied], [100, 2]);
    await scene.entries.close();
  });

  it("outlive a restart in a file of their owner's alone, and go when they do not come back", async (t) => {
    const folder = tempFolder(t);
    const first = new Scene(folder);
    const objects = first.apply(GROUP);
    for (const address of ["10.0.0.1", "10.0.0.2"]) await first.entries.connect(...joined(objects, address));
    await first.entries.report(joined(objects, "10.0.0.1")[0], { healthy: true, detail: "" });
    await first.entries.close();
    assert.equal(statSync(join(folder, "registrations.json")).mode & 0o777, 0o600);

    const second = new Scene(folder, 300);
    const [back, group] = joined(second.apply(GROUP), "10.0.0.1");
    assert.deepEqual(
      second.members.map(({ address, health }) => [address, health?.state]),
      [
        ["10.0.0.1", "healthy"],
        ["10.0.0.2", "unknown"],
      ],
    );
    await second.entries.connect(back, group);
    await until("the one that stayed away is gone", () => second.members.length === 1);
    assert.equal(second.members[0]?.address, "10.0.0.1");
    second.entries.disconnect(back);
    await until("the other one as well", () => second.members.length === 0);
    await second.entries.close();
  });

  it("leave at once, and only once", async (t) => {
    const scene = new Scene(tempFolder(t));
    const [member, group] = joined(scene.apply(GROUP), "10.0.0.1");
    await scene.entries.connect(member, group);
    await turn();
    assert.equal(scene.members.length, 1);
    await scene.entries.leave(member);
    await turn();
    assert.deepEqual(scene.members, []);
    scene.entries.disconnect(member);
    await scene.entries.leave(member);
    await assert.rejects(scene.entries.report(member, { healthy: true, detail: "" }), /registered no more/);
    await scene.entries.close();
  });

  it("stand back behind an entry that somebody wrote", async (t) => {
    const scene = new Scene(tempFolder(t));
    const [member, group] = joined(scene.apply(GROUP), "10.0.0.1");
    await scene.entries.connect(member, group);
    const written = "---\napiVersion: networking.istio.io/v1\nkind: WorkloadEntry\nmetadata: { name: web-10.0.0.1, namespace: shop }\n";
    scene.apply(`${GROUP}${written}spec: { address: 10.0.0.7, serviceAccount: web }\n`);
    assert.deepEqual(
      scene.members.map(({ address }) => address),
      ["10.0.0.7"],
    );
    await scene.entries.close();
  });

  it("are not read from a file that says something else", (t) => {
    const folder = tempFolder(t);
    for (const text of ["{", "[1]", '[{"group":"a/b","address":"x"}]', '[{"group":"a/b","address":"10.0.0.1","health":{"healthy":1}}]']) {
      writeFileSync(join(folder, "registrations.json"), text, { mode: 0o600 });
      assert.throws(() => new Scene(folder), /is not a list of registered machines/);
    }
  });
});
