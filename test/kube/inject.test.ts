/** Injection, as a real API server takes it: by `garrison inject`, and by the webhook as pods are made. */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";
import { parseAllDocuments } from "yaml";
import { until } from "../fakes/processes.ts";
import { garrison } from "../feature/garrison.ts";
import { Place } from "../feature/place.ts";
import { Cluster, type Manifest } from "./cluster.ts";

const IMAGE = "registry.example/garrison:0.1.0";
const NAMES = ["garrison-capture", "garrison-proxy"];

const APP = `apiVersion: apps/v1
kind: Deployment
metadata: { name: cart, namespace: shop }
spec:
  selector: { matchLabels: { app: cart } }
  template:
    metadata: { labels: { app: cart }, annotations: { traffic.sidecar.istio.io/excludeOutboundPorts: "9092" } }
    spec:
      initContainers: [{ name: migrate, image: cart }]
      containers:
        - name: app
          image: cart
          ports: [{ name: web, containerPort: 8080 }]
          livenessProbe: { httpGet: { path: /live, port: web } }
          readinessProbe: { grpc: { port: 9090 } }
          startupProbe: { tcpSocket: { port: 8080 }, failureThreshold: 30 }
---
apiVersion: batch/v1
kind: CronJob
metadata: { name: nightly, namespace: shop }
spec:
  schedule: "0 3 * * *"
  jobTemplate:
    spec:
      template:
        spec: { restartPolicy: Never, containers: [{ name: app, image: cart }] }
---
apiVersion: v1
kind: Pod
metadata: { name: node-agent, namespace: shop }
spec: { hostNetwork: true, containers: [{ name: app, image: agent }] }
---
apiVersion: v1
kind: Service
metadata: { name: cart, namespace: shop }
spec: { selector: { app: cart }, ports: [{ port: 80 }] }
`;

/** What YAML 1.1, which the API server reads, takes for something else than YAML 1.2 does. */
const ODD = `# The mesh's own words.
apiVersion: v1
kind: ConfigMap
metadata: { name: odd, namespace: shop, labels: &odd { enabled: "yes" } }
data: { "on": "off", mode: "0755", big: "1_000", bits: "0b1" }
---
apiVersion: v1
kind: Pod
metadata:
  name: odd
  namespace: shop
  labels: &labels { enabled: "yes", app: "on" } # both are texts
  annotations: { big: "1_000", bits: "0b1", octal: "0o17", time: "1:30", nothing: "~" }
spec:
  serviceAccountName: cart
  affinity: { podAntiAffinity: { requiredDuringSchedulingIgnoredDuringExecution: [{ topologyKey: zone, labelSelector: { matchLabels: *labels } }] } }
  containers:
    - name: app
      image: cart
      args: ["no", "0400", "null", "1e3", "#"]
      livenessProbe: { httpGet: { path: /, port: 0x1F90 } }
      volumeMounts: [{ name: keys, mountPath: /keys, readOnly: yes }]
  volumes:
    - name: keys
      secret: { secretName: keys, defaultMode: 0400, items: [{ key: a, path: a, mode: 0755 }] }
`;

interface Container {
  readonly name: string;
  readonly image: string;
  readonly args?: readonly string[];
  readonly restartPolicy?: string;
}

interface PodManifest extends Manifest {
  readonly metadata: Manifest["metadata"] & {
    readonly annotations?: Readonly<Record<string, string>>;
    readonly labels?: Readonly<Record<string, string>>;
  };
  readonly spec: {
    readonly initContainers?: readonly Container[];
    readonly containers: readonly Container[];
    readonly volumes?: readonly unknown[];
    readonly imagePullSecrets?: unknown;
  };
}

function pod(
  namespace: string,
  name: string,
  more: {
    readonly labels?: Record<string, string>;
    readonly annotations?: Record<string, string>;
    readonly hostNetwork?: boolean;
    readonly container?: { readonly name: string; readonly image: string };
  } = {},
) {
  const { labels = {}, annotations = {}, hostNetwork = false, container = { name: "app", image: "cart" } } = more;
  const probe = { httpGet: { path: "/", port: 8080 } };
  const containers = [{ ...container, readinessProbe: probe }];
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name, namespace, labels, annotations },
    spec: { serviceAccountName: "cart", hostNetwork, containers },
  };
}

const place = new Place({ after });
let cluster: Cluster;

before(async () => {
  cluster = await Cluster.start(place);
  const namespaces = {
    shop: "",
    meshed: "labels: { istio-injection: enabled }",
    out: "labels: { istio-injection: disabled }",
    revised: "labels: { istio.io/rev: default }",
    elsewhere: "labels: { istio.io/rev: canary }",
    first: "labels: { istio-injection: enabled, istio.io/rev: canary }",
    "istio-system": "",
  };
  for (const [name, labels] of Object.entries(namespaces))
    await cluster.apply(`apiVersion: v1\nkind: Namespace\nmetadata: { name: ${name}, ${labels} }\n`);
});

describe("garrison inject", { timeout: 120_000 }, () => {
  const inject = async (file: string, ...args: readonly string[]) => garrison(["inject", "-f", file, "--inject-image", IMAGE, ...args]);

  test("prints what the API server takes, and the same again for what it printed", async () => {
    place.write("app.yaml", APP);
    const { exit, stdout, stderr } = await inject(`${place.config}/app.yaml`);
    assert.deepEqual(
      [exit, stderr.trim()],
      [0, "Pod shop/node-agent: not injected: it has its node's network, where a proxy of its own would capture the traffic of others"],
    );
    const objects = parseAllDocuments(stdout).map((document) => document.toJS() as Manifest);
    assert.deepEqual(
      objects.map(({ kind }) => kind),
      ["Deployment", "CronJob", "Pod", "Service"],
    );
    for (const object of objects) {
      const { status, body } = await cluster.tryOut(object);
      assert.equal(status, 201, JSON.stringify(body));
    }
    place.write("injected.yaml", stdout);
    assert.equal((await inject(`${place.config}/injected.yaml`)).stdout, stdout);
  });

  test("leaves to the API server's own reader of YAML what it said before", async () => {
    place.write("odd.yaml", ODD);
    const { exit, stdout, stderr } = await inject(`${place.config}/odd.yaml`);
    assert.equal(exit, 0, stderr);
    const [[map = "", before = ""], [sameMap, after = ""]] = [ODD, stdout].map((text) => text.split("---\n")) as [string[], string[]];
    assert.equal(sameMap, map);
    const taken = async (kind: string, text: string): Promise<PodManifest> => {
      const { status, body } = await cluster.tryOutYaml({ apiVersion: "v1", kind, metadata: { name: "odd", namespace: "shop" } }, text);
      assert.equal(status, 201, JSON.stringify(body));
      return body as PodManifest;
    };
    await taken("ConfigMap", map);
    const [was, is] = [await taken("Pod", before), await taken("Pod", after)];
    const { "security.istio.io/tlsMode": tls, ...labels } = is.metadata.labels ?? {};
    assert.deepEqual([tls, labels], ["istio", was.metadata.labels]);
    assert.deepEqual({ ...is.metadata.annotations, ...was.metadata.annotations }, is.metadata.annotations);
    const { initContainers, containers, volumes, ...rest } = is.spec;
    const { containers: ownContainers, volumes: ownVolumes, ...ownRest } = was.spec;
    assert.deepEqual([initContainers?.length, rest], [2, ownRest]);
    assert.deepEqual(volumes?.slice(0, 1), ownVolumes);
    assert.deepEqual({ ...containers[0], livenessProbe: undefined }, { ...ownContainers[0], livenessProbe: undefined });
    assert.match(initContainers?.[1]?.args?.join() ?? "", /"port":8080/);
  });

  test("says what is wrong, of which object", async () => {
    place.write("wrong.yaml", APP.replace('"9092"', '"kafka"'));
    const { exit, stdout, stderr } = await inject(`${place.config}/wrong.yaml`);
    assert.deepEqual([exit, stdout], [3, ""]);
    assert.match(stderr, /wrong\.yaml: Deployment shop\/cart: `traffic\.sidecar\.istio\.io\/excludeOutboundPorts` is not a port: `kafka`/);
    assert.equal((await garrison(["inject", "-f", "-", "--inject-image", "$(touch x)"])).exit, 2);
  });
});

describe("the webhook that injects", { timeout: 120_000 }, () => {
  const made = async (object: ReturnType<typeof pod>): Promise<PodManifest> => {
    const { status, message } = await cluster.offer(object);
    assert.equal(status, 201, message);
    return cluster.read<PodManifest>(`/api/v1/namespaces/${object.metadata.namespace}/pods/${object.metadata.name}`);
  };
  const addedTo = ({ spec }: PodManifest): readonly string[] => (spec.initContainers ?? []).map(({ name }) => name);

  before(async () => {
    const kubeconfig = await cluster.controlPlaneKubeconfig();
    const serve = place.start([
      "serve",
      "--kubeconfig",
      kubeconfig,
      "--listen",
      "127.0.0.1:0",
      "--webhooks",
      "127.0.0.1:0",
      "--inject-image",
      IMAGE,
      "--inject-pull-secret",
      "registry",
    ]);
    await serve.line(/ control plane serves /);
    const [, port = ""] = /listen=127\.0\.0\.1:(\d+)/.exec(await serve.line(/ webhooks served /)) ?? [];
    await cluster.installWebhooks(Number(port), "injection.yaml");
    let [tries, last] = [0, ""];
    await until("the webhook is asked", async () => {
      tries += 1;
      const { status, message } = await cluster.offer(pod("meshed", `first-${tries}`));
      const path = `/api/v1/namespaces/meshed/pods/first-${tries}`;
      last = `${status} ${message}`;
      return status === 201 && addedTo(await cluster.read<PodManifest>(path)).length > 0;
    }).catch((error: unknown) => assert.fail(`${String(error)}: ${last}\n${serve.output}`));
  });

  test("gives pods of a namespace that says so their agent and proxy", async () => {
    const { spec, metadata } = await made(pod("meshed", "cart", { labels: { app: "cart" } }));
    assert.deepEqual(
      (spec.initContainers ?? []).map(({ name, image, restartPolicy }) => [name, image, restartPolicy]),
      [
        ["garrison-capture", IMAGE, undefined],
        ["garrison-proxy", IMAGE, "Always"],
      ],
    );
    assert.deepEqual(spec.imagePullSecrets, [{ name: "registry" }]);
    assert.equal(metadata.labels?.app, "cart");
    assert.equal(metadata.labels?.["security.istio.io/tlsMode"], "istio");
    assert.equal(metadata.annotations?.["sidecar.istio.io/interceptionMode"], "REDIRECT");
    assert.match(spec.initContainers?.[1]?.args?.join(" ") ?? "", /--app-probes=\{"\/app-health\/app\/readyz"/);
  });

  test("leaves out what says so, and takes in what says so elsewhere", async () => {
    const label = (value: string) => ({ labels: { "sidecar.istio.io/inject": value } });
    assert.deepEqual(addedTo(await made(pod("meshed", "left-out", label("false")))), []);
    assert.deepEqual(addedTo(await made(pod("shop", "plain"))), []);
    assert.deepEqual(addedTo(await made(pod("shop", "taken-in", label("true")))), NAMES);
    assert.deepEqual(addedTo(await made(pod("meshed", "twice", label("true")))), NAMES);
    assert.deepEqual(addedTo(await made(pod("out", "kept-out", label("true")))), []);
  });

  test("takes the default revision for its own, the namespace's word before the pod's, and istio-injection before both", async () => {
    const rev = (value: string) => ({ labels: { "istio.io/rev": value } });
    assert.deepEqual(addedTo(await made(pod("revised", "plain"))), NAMES);
    assert.deepEqual(addedTo(await made(pod("revised", "canary", rev("canary")))), NAMES);
    assert.deepEqual(addedTo(await made(pod("revised", "left-out", { labels: { "sidecar.istio.io/inject": "false" } }))), []);
    assert.deepEqual(addedTo(await made(pod("elsewhere", "plain"))), []);
    assert.deepEqual(addedTo(await made(pod("elsewhere", "asks", { labels: { "sidecar.istio.io/inject": "true" } }))), []);
    assert.deepEqual(addedTo(await made(pod("first", "plain"))), NAMES);
    assert.deepEqual(addedTo(await made(pod("shop", "revised", rev("default")))), NAMES);
    assert.deepEqual(addedTo(await made(pod("shop", "elsewhere", rev("canary")))), []);
    assert.deepEqual(addedTo(await made(pod("out", "revised", rev("default")))), []);
  });

  test("makes a gateway of a pod that says so, in the place that its people keep for its proxy", async () => {
    const annotations = { "inject.istio.io/templates": "gateway" };
    const { spec, metadata } = await made(pod("meshed", "ingress", { annotations, container: { name: "istio-proxy", image: "auto" } }));
    assert.deepEqual(
      [spec.initContainers ?? [], spec.containers.map(({ name, image, args }) => [name, image, args?.[0]])],
      [[], [["istio-proxy", IMAGE, "agent"]]],
    );
    assert.equal(metadata.labels?.["security.istio.io/tlsMode"], undefined);
    const own = await cluster.offer(pod("meshed", "custom", { annotations: { "inject.istio.io/templates": "mine" } }));
    assert.equal(own.status, 422);
  });

  test("warns of a pod on its node's network, and refuses one whose annotations cannot be honoured", async () => {
    const { status, warnings } = await cluster.offer(pod("meshed", "on-node", { hostNetwork: true }));
    assert.equal(status, 201);
    assert.match(warnings.join(), /the pod is not injected: it has its node's network/);
    const refused = await cluster.offer(pod("meshed", "wrong", { annotations: { "traffic.sidecar.istio.io/includeInboundPorts": "web" } }));
    assert.equal(refused.status, 422);
    assert.match(refused.message, /is not a port: `web`/);
  });
});
