/** What becomes of watches at a real API server that falls silent, forgets where they were, or is away. */
import assert from "node:assert/strict";
import { cpSync, renameSync, rmSync } from "node:fs";
import { after, before, describe, type TestContext, test } from "node:test";
import {
  type ApiAnswer,
  type HttpsApi,
  type KubernetesApi,
  openKubernetesApi,
  type WatchAnswer,
} from "../../src/sources/kubernetes/api.ts";
import { Reflector, type ReflectorOptions } from "../../src/sources/kubernetes/reflector.ts";
import { watchedKinds } from "../../src/sources/kubernetes/watched-kinds.ts";
import { until } from "../fakes/processes.ts";
import { RecordingLogger } from "../fakes/recording-logger.ts";
import { Place } from "../feature/place.ts";
import { Cluster } from "./cluster.ts";

/** An API whose lists, watches and answers of 410 are counted. */
class CountingApi implements KubernetesApi {
  lists = 0;
  watches = 0;
  gone = 0;
  readonly #api: HttpsApi;

  constructor(api: HttpsApi) {
    this.#api = api;
  }

  async call(...[method, path, ...rest]: Parameters<KubernetesApi["call"]>): Promise<ApiAnswer> {
    const answer = await this.#api.call(method, path, ...rest);
    if (method === "GET" && answer.status === 200 && !path.includes("limit=1&") && !path.endsWith("limit=1")) this.lists += 1;
    return answer;
  }

  async watch(path: string, signal: AbortSignal): Promise<WatchAnswer> {
    const { status, lines } = await this.#api.watch(path, signal);
    this.watches += 1;
    if (status === 410) this.gone += 1;
    return { status, lines: this.#counted(lines) };
  }

  async *#counted(lines: AsyncIterable<string>): AsyncGenerator<string> {
    for await (const line of lines) {
      if (/"type":"ERROR".*"code":410/.test(line)) this.gone += 1;
      yield line;
    }
  }
}

const place = new Place({ after });
let cluster: Cluster;

/** Follows the Sidecars of the cluster. */
async function follow(t: TestContext, silenceMs: number, limits: ReflectorOptions["limits"] = {}) {
  const [kind] = watchedKinds("istio-system").filter((each) => each.kind === "Sidecar");
  assert.ok(kind);
  const https = await openKubernetesApi({ file: cluster.server.kubeconfig, silenceMs });
  const api = new CountingApi(https);
  const logger = new RecordingLogger();
  const reflector = new Reflector({ api, kind, logger, onChange: () => undefined, limits });
  t.after(async () => {
    await reflector.close();
    https.close();
  });
  await until("it is listed", () => reflector.objects !== undefined);
  const names = (): readonly string[] => [...(reflector.objects?.keys() ?? [])].sort();
  return { api, logger, reflector, names };
}

const sidecar = (name: string) => ({
  apiVersion: "networking.istio.io/v1",
  kind: "Sidecar",
  metadata: { name, namespace: "shop" },
  spec: { egress: [{ hosts: ["./*"] }] },
});

before(async () => {
  cluster = await Cluster.start(place);
  await cluster.apply("apiVersion: v1\nkind: Namespace\nmetadata: { name: shop }\n");
});

describe("a watch at a real API server", { timeout: 120_000 }, () => {
  test("that says nothing is asked for anew, without a list and without a word, and loses nothing", async (t) => {
    const { api, logger, reflector, names } = await follow(t, 500);
    await until("it was asked for several times", () => api.watches >= 4);
    assert.deepEqual([api.lists, reflector.problem], [1, undefined]);
    await cluster.create(sidecar("late"));
    await until("what comes is seen", () => names().join() === "shop/late");
    assert.equal(api.lists, 1);
    assert.deepEqual(logger.lines, []);
    await cluster.remove(sidecar("late"));
  });

  test("that it cannot resume (410) is replaced by a list: what came and went meanwhile is exact", async (t) => {
    await cluster.create(sidecar("stays"));
    await cluster.create(sidecar("goes"));
    // It comes back late enough for the server to have forgotten what was before it was started anew.
    const { api, logger, names } = await follow(t, 60_000, { firstRetryMs: 15_000, lastRetryMs: 15_000 });
    assert.deepEqual(names(), ["shop/goes", "shop/stays"]);
    await cluster.server.stop("kube-apiserver");
    await logger.line("objects cannot be watched: the last ones seen stay in force");
    await cluster.server.startServing();
    await cluster.remove(sidecar("goes"));
    await cluster.create(sidecar("comes"));
    await until("it has caught up", () => names().join() === "shop/comes,shop/stays", 60_000);
    assert.ok(api.gone > 0, "the server could go on from where the watch was");
    assert.equal(api.lists, 2);
  });

  test("whose etcd is killed with it goes on, and has what is written then", async (t) => {
    const { names } = await follow(t, 60_000);
    await cluster.create(sidecar("kept"));
    await until("it is seen", () => names().includes("shop/kept"));
    await cluster.server.restartStore();
    await cluster.create(sidecar("after"));
    await until("what is written then is seen", () => names().includes("shop/after"), 60_000);
    assert.ok(names().includes("shop/kept"));
  });

  test("whose etcd is restored from an older state says what that has, and what comes then", async (t) => {
    await cluster.create(sidecar("saved"));
    await cluster.server.restartStore((folder) => cpSync(folder, `${folder}.saved`, { recursive: true }));
    await cluster.remove(sidecar("saved"));
    // The state that is restored is as many versions behind as there are here, and writes that follow do not make up for them.
    for (let turn = 0; turn < 200; turn++) await cluster.create(sidecar(`lost-${turn}`));
    const { logger, names } = await follow(t, 60_000);
    assert.ok(names().includes("shop/lost-0"));
    await cluster.server.restartStore((folder) => {
      rmSync(folder, { recursive: true });
      renameSync(`${folder}.saved`, folder);
    });
    await until("what was restored is seen", () => names().includes("shop/saved"), 60_000);
    assert.equal(
      names().some((name) => name.startsWith("shop/lost-")),
      false,
    );
    await logger.line("the API server is at an older state than before: everything is listed again");
    await cluster.create(sidecar("new"));
    await until("what comes then is seen", () => names().includes("shop/new"), 20_000);
  });
});
