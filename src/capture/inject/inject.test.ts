import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { parseAppProbes } from "../../agent/app-probes.ts";
import { INIT_CONTAINER, type InjectOptions, SIDECAR } from "./containers.ts";
import { injectObject, injectPod } from "./inject.ts";
import { listOf, type Plain, plainOf, textOf } from "./plain.ts";

const OPTIONS: InjectOptions = {
  image: "registry.example/garrison:1",
  controlPlane: "garrison.garrison-system.svc:15012",
  trustDomain: "cluster.local",
};

function podOf(spec: Plain = {}, metadata: Plain = {}): Plain {
  return {
    apiVersion: "v1",
    kind: "Pod",
    metadata: { name: "cart", ...metadata },
    spec: { containers: [{ name: "app", image: "app" }], ...spec },
  };
}

function injected(pod: Plain): Plain {
  const injection = injectPod(pod, OPTIONS);
  if (injection.kind === "skipped") throw new Error(injection.reason);
  return injection.pod;
}

function container(pod: Plain, name: string): Plain {
  const spec = plainOf(pod, "spec");
  const all = [...listOf(spec, "initContainers"), ...listOf(spec, "containers")];
  return all.find((each) => textOf(each, "name") === name) as Plain;
}

describe("an injected pod", () => {
  it("is captured and has its proxy before anything of its own starts", () => {
    const pod = injected(podOf({ initContainers: [{ name: "migrate" }] }));
    const names = listOf(plainOf(pod, "spec"), "initContainers").map((each) => textOf(each, "name"));
    assert.deepEqual(names, [INIT_CONTAINER, SIDECAR, "migrate"]);
    assert.equal(container(pod, SIDECAR).restartPolicy, "Always");
    assert.equal(plainOf(plainOf(pod, "metadata"), "annotations")["sidecar.istio.io/interceptionMode"], "REDIRECT");
    assert.equal(plainOf(plainOf(pod, "metadata"), "labels")["security.istio.io/tlsMode"], "istio");
  });

  it("names its cluster where it is not the control plane's own", () => {
    const injection = injectPod(podOf(), { ...OPTIONS, cluster: "west" });
    const args = injection.kind === "skipped" ? [] : listOf(container(injection.pod, SIDECAR), "args").map(String);
    assert.ok(args.includes("--cluster=west"));
    assert.ok(!listOf(container(injected(podOf()), SIDECAR), "args").some((text) => String(text).startsWith("--cluster")));
  });

  it("is what it was, besides", () => {
    const own = podOf({ volumes: [{ name: "data" }], serviceAccountName: "cart" }, { labels: { app: "cart" }, generateName: "cart-" });
    const pod = injected(own);
    assert.deepEqual(listOf(plainOf(pod, "spec"), "containers"), listOf(plainOf(own, "spec"), "containers"));
    assert.deepEqual(listOf(plainOf(pod, "spec"), "volumes")[0], { name: "data" });
    assert.equal(plainOf(pod, "spec").serviceAccountName, "cart");
    assert.equal(plainOf(pod, "metadata").generateName, "cart-");
    assert.equal(plainOf(plainOf(pod, "metadata"), "labels").app, "cart");
  });

  it("gives nothing but the first container a right that it needs", () => {
    const pod = injected(podOf());
    assert.deepEqual(plainOf(container(pod, INIT_CONTAINER), "securityContext").capabilities, { add: ["NET_ADMIN"], drop: ["ALL"] });
    const proxy = plainOf(container(pod, SIDECAR), "securityContext");
    assert.deepEqual(
      [proxy.runAsUser, proxy.runAsNonRoot, proxy.readOnlyRootFilesystem, proxy.allowPrivilegeEscalation, proxy.capabilities],
      [1337, true, true, false, { drop: ["ALL"] }],
    );
  });

  it("is the same when it is injected again", () => {
    const once = injected(podOf());
    assert.deepEqual(injectPod(once, OPTIONS), { kind: "skipped", reason: "it has been injected already" });
    assert.deepEqual(injectObject(once, OPTIONS).object, once);
  });

  it("is captured as its annotations say", () => {
    const pod = injected(
      podOf(
        {},
        {
          annotations: {
            "traffic.sidecar.istio.io/excludeInboundPorts": "22, 2222",
            "traffic.sidecar.istio.io/includeOutboundIPRanges": "*",
          },
        },
      ),
    );
    assert.deepEqual(container(pod, INIT_CONTAINER).args, ["capture", "--exclude-inbound-ports=22,2222", "--include-outbound-ranges=*"]);
  });

  it("may use what its annotations say", () => {
    const pod = injected(podOf({}, { annotations: { "sidecar.istio.io/proxyCPU": "250m", "sidecar.istio.io/proxyMemoryLimit": "2Gi" } }));
    assert.deepEqual(container(pod, SIDECAR).resources, {
      requests: { cpu: "250m", memory: "128Mi" },
      limits: { cpu: "2", memory: "2Gi" },
    });
  });

  for (const [annotations, told] of [
    [{ "traffic.sidecar.istio.io/excludeInboundPorts": "80;x" }, /is not a port: `80;x`/],
    [{ "traffic.sidecar.istio.io/includeOutboundIPRanges": "any" }, /is not an IP address or CIDR block/],
    [{ "traffic.sidecar.istio.io/kubevirtInterfaces": "eth1" }, /is not supported/],
    [{ "sidecar.istio.io/interceptionMode": "TPROXY" }, /`sidecar.istio.io\/interceptionMode: TPROXY` is not supported/],
    [{ "sidecar.istio.io/proxyCPU": "lots" }, /is not a quantity: `lots`/],
  ] as const) {
    it(`is not made with ${JSON.stringify(annotations)}, which would not be honoured`, () => {
      assert.throws(() => injectPod(podOf({}, { annotations }), OPTIONS), told);
    });
  }

  it("has its DNS answered by its agent where it says so, or the mesh does", () => {
    const said = (value: string) => ({ annotations: { "proxy.istio.io/config": `proxyMetadata: { ISTIO_META_DNS_CAPTURE: ${value} }` } });
    for (const [metadata, dnsCapture, expected] of [
      [{}, false, false],
      [{}, true, true],
      [said('"true"'), false, true],
      [said('"false"'), true, false],
      [{ annotations: { "proxy.istio.io/config": "concurrency: 2" } }, true, true],
    ] as const) {
      const injection = injectPod(podOf({}, metadata), { ...OPTIONS, dnsCapture });
      const pod = injection.kind === "injected" ? injection.pod : {};
      for (const name of [INIT_CONTAINER, SIDECAR])
        assert.equal(listOf(container(pod, name), "args").includes("--dns-port=15053"), expected);
    }
    for (const value of ["true", "yes", "'1'"]) assert.throws(() => injected(podOf({}, said(value))), /is neither "true" nor "false"/);
    assert.throws(() => injected(podOf({}, { annotations: { "proxy.istio.io/config": "{" } })), /is not YAML/);
  });

  it("gives the Workload API to just the containers that it names", () => {
    const ENDPOINT = "unix:///var/run/secrets/workload-spiffe-uds/agent/socket";
    const spec = {
      containers: [{ name: "app", env: [{ name: "A", value: "b" }] }, { name: "log" }],
      initContainers: [{ name: "migrate" }],
    };
    const asked = (text: string) => injected(podOf(spec, { annotations: { "garrison.dev/workload-api": text } }));
    const have = (pod: Plain) =>
      ["app", "log", "migrate", INIT_CONTAINER].filter((name) =>
        listOf(container(pod, name), "volumeMounts").some((mount) => textOf(mount, "name") === "garrison-workload-api"),
      );
    const pod = asked("app, migrate");
    assert.deepEqual(have(pod), ["app", "migrate"]);
    const { env, volumeMounts } = container(pod, "app");
    assert.deepEqual(env, [
      { name: "A", value: "b" },
      { name: "SPIFFE_ENDPOINT_SOCKET", value: ENDPOINT },
    ]);
    const mount = { name: "garrison-workload-api", mountPath: "/var/run/secrets/workload-spiffe-uds" };
    assert.deepEqual(volumeMounts, [{ ...mount, readOnly: true }]);
    const sidecar = container(pod, SIDECAR);
    assert.deepEqual(listOf(sidecar, "volumeMounts").at(-1), mount);
    for (const option of [`--workload-api=${ENDPOINT}`, "--workload-api-group=*"]) assert.ok(listOf(sidecar, "args").includes(option));
    assert.deepEqual(have(asked("*")), ["app", "log", "migrate"]);
    const none = injected(podOf(spec));
    assert.deepEqual([have(none), /workload-(api|spiffe)/.test(JSON.stringify(none))], [[], false]);
  });

  it("is not made where it asks for the Workload API in a way that cannot be", () => {
    const asked = (text: unknown, more: Plain = {}) =>
      injectPod(podOf({ containers: [{ name: "app", ...more }] }, { annotations: { "garrison.dev/workload-api": text } }), OPTIONS);
    assert.throws(() => asked("app,other"), /names `other`, which is no container of the pod/);
    assert.throws(() => asked(""), /names ``, which is no container/);
    assert.throws(() => asked(true), /is not a short text/);
    assert.throws(() => asked("garrison-proxy"), /names `garrison-proxy`, which is no container/);
    assert.throws(
      () => asked("app", { env: [{ name: "SPIFFE_ENDPOINT_SOCKET", value: "x" }] }),
      /has a `SPIFFE_ENDPOINT_SOCKET` of its own/,
    );
    const elsewhere = { volumeMounts: [{ name: "x", mountPath: "/var/run/secrets/workload-spiffe-uds/" }] };
    assert.throws(() => asked("app", elsewhere), /has something else at/);
  });

  it("runs nothing of its own as the proxy's user, which nobody captures", () => {
    for (const spec of [
      { securityContext: { runAsUser: 1337 } },
      { containers: [{ name: "app", securityContext: { runAsUser: 1337 } }] },
      { initContainers: [{ name: "init", securityContext: { runAsUser: 1337 } }] },
    ])
      assert.throws(() => injectPod(podOf(spec), OPTIONS), /runs something as user 1337/);
  });
});

describe("a pod with names of ours", () => {
  for (const [spec, told] of [
    [{ containers: [{ name: SIDECAR }] }, /has a container `garrison-proxy` of its own/],
    [{ initContainers: [{ name: SIDECAR, restartPolicy: "Always" }] }, /has a container `garrison-proxy` of its own/],
    [{ initContainers: [{ name: INIT_CONTAINER }] }, /has a container `garrison-capture` of its own/],
    [{ volumes: [{ name: "garrison-token" }] }, /has a volume `garrison-token` of its own/],
  ] as const) {
    it(`is refused rather than left without its proxy: ${JSON.stringify(spec)}`, () => {
      assert.throws(() => injectPod(podOf(spec), OPTIONS), told);
    });
  }
});

describe("what the people of an injected pod are told", () => {
  const notesOf = (container: Plain, metadata: Plain = {}): readonly string[] => {
    const injection = injectPod(podOf({ containers: [{ name: "app", ...container }] }, metadata), OPTIONS);
    return injection.kind === "injected" ? injection.notes : [injection.reason];
  };

  it("are hooks that the node makes in plaintext, where their port is captured", () => {
    const ports = [{ name: "web", containerPort: 8080 }];
    const lifecycle = { preStop: { httpGet: { path: "/stop", port: "web" } }, postStart: { exec: { command: ["true"] } } };
    assert.match(
      notesOf({ ports, lifecycle }).join(),
      /^`preStop` of container `app` is a request of the node's, in plaintext, which STRICT refuses/,
    );
    assert.deepEqual(notesOf({ ports, lifecycle }, { annotations: { "traffic.sidecar.istio.io/excludeInboundPorts": "8080" } }), []);
    assert.deepEqual(notesOf({ lifecycle: { preStop: { httpGet: { host: "10.1.2.3", port: 80 } } } }), []);
    assert.equal(notesOf({ lifecycle: { postStart: { tcpSocket: { port: 80 } } } }).length, 1);
  });

  it("are probes of ports with names that nobody declares", () => {
    const livenessProbe = { httpGet: { path: "/", port: "wbe" } };
    assert.deepEqual(notesOf({ ports: [{ name: "web", containerPort: 8080 }], livenessProbe }), [
      "`livenessProbe` of container `app` asks port `wbe`, which the container does not declare: it stays as it is",
    ]);
    assert.deepEqual(notesOf({ livenessProbe: { exec: { command: ["true"] } } }), []);
  });
});

describe("the Secrets that the image is pulled with", () => {
  it("are added to the pod's own, each once", () => {
    const secretsOf = (spec: Plain, pullSecrets: readonly string[]): unknown => {
      const injection = injectPod(podOf(spec), { ...OPTIONS, pullSecrets });
      return injection.kind === "injected" ? plainOf(injection.pod, "spec").imagePullSecrets : undefined;
    };
    assert.deepEqual(secretsOf({ imagePullSecrets: [{ name: "own" }] }, ["own", "mesh"]), [{ name: "own" }, { name: "mesh" }]);
    assert.equal(secretsOf({}, []), undefined);
  });
});

describe("a pod that is not injected", () => {
  const reasonOf = (pod: Plain): string => {
    const injection = injectPod(pod, OPTIONS);
    return injection.kind === "skipped" ? injection.reason : "injected";
  };

  it("has its node's network, or says so", () => {
    assert.match(reasonOf(podOf({ hostNetwork: true })), /it has its node's network/);
    assert.equal(reasonOf(podOf({}, { labels: { "sidecar.istio.io/inject": "false" } })), "it says `sidecar.istio.io/inject: false`");
    assert.equal(reasonOf(podOf({}, { annotations: { "sidecar.istio.io/inject": "false" } })), "it says `sidecar.istio.io/inject: false`");
    assert.equal(reasonOf(podOf({}, { labels: { "sidecar.istio.io/inject": "true" } })), "injected");
  });
});

describe("the probes of an injected pod", () => {
  const probed = (more: Plain, pod: Plain = {}): { readonly app: Plain; readonly asked: ReturnType<typeof parseAppProbes> } => {
    const result = injected(podOf({ containers: [{ name: "app", ports: [{ name: "web", containerPort: 8080 }], ...more }] }, pod));
    const args = listOf(container(result, SIDECAR), "args").map(String);
    const json = args.find((text) => text.startsWith("--app-probes="))?.slice("--app-probes=".length) ?? "{}";
    return { app: container(result, "app"), asked: parseAppProbes(json.replaceAll("$$", "$")) };
  };

  it("are answered by the agent, which asks what the node would have asked", () => {
    const { app, asked } = probed({
      livenessProbe: { httpGet: { path: "/live", port: "web", httpHeaders: [{ name: "X-Probe", value: "$(A)" }] }, periodSeconds: 7 },
      readinessProbe: { tcpSocket: { port: 8080 }, timeoutSeconds: 3 },
      startupProbe: { grpc: { port: 9090, service: "cart" } },
    });
    assert.deepEqual(app.livenessProbe, {
      periodSeconds: 7,
      timeoutSeconds: 2,
      httpGet: { path: "/app-health/app/livez", port: 15_021, scheme: "HTTP" },
    });
    assert.deepEqual(plainOf(app, "readinessProbe").timeoutSeconds, 4);
    assert.deepEqual(Object.fromEntries(asked), {
      "/app-health/app/livez": {
        kind: "http",
        scheme: "HTTP",
        port: 8080,
        path: "/live",
        headers: [["X-Probe", "$(A)"]],
        timeoutSeconds: 1,
      },
      "/app-health/app/readyz": { kind: "tcp", port: 8080, timeoutSeconds: 3 },
      "/app-health/app/startupz": { kind: "grpc", port: 9090, service: "cart", timeoutSeconds: 1 },
    });
  });

  it("stay as they are where they are commands, go elsewhere, or are asked to", () => {
    const exec = { exec: { command: ["true"] } };
    const elsewhere = { httpGet: { host: "10.1.2.3", port: 80 } };
    const { app, asked } = probed({ livenessProbe: exec, readinessProbe: elsewhere });
    assert.deepEqual([app.livenessProbe, app.readinessProbe, asked.size], [exec, elsewhere, 0]);
    const own = { httpGet: { path: "/", port: 8080 } };
    const left = probed({ livenessProbe: own }, { annotations: { "sidecar.istio.io/rewriteAppHTTPProbers": "false" } });
    assert.deepEqual([left.app.livenessProbe, left.asked.size], [own, 0]);
  });
});

describe("objects that make pods", () => {
  for (const [kind, path] of [
    ["Deployment", ["spec", "template"]],
    ["StatefulSet", ["spec", "template"]],
    ["DaemonSet", ["spec", "template"]],
    ["Job", ["spec", "template"]],
    ["CronJob", ["spec", "jobTemplate", "spec", "template"]],
    ["PodTemplate", ["template"]],
  ] as const) {
    it(`of kind ${kind} have their pods injected`, () => {
      const { spec } = podOf();
      const object = [...path].reverse().reduce<Plain>((inner, key) => ({ [key]: inner }), { spec });
      const { object: result, notes } = injectObject({ kind, ...object }, OPTIONS);
      assert.deepEqual(notes, []);
      const template = path.reduce<Plain>((outer, key) => plainOf(outer, key), result);
      assert.equal(listOf(plainOf(template, "spec"), "initContainers").length, 2);
    });
  }

  it("are all that is changed", () => {
    const service = { kind: "Service", spec: { selector: { app: "cart" } } };
    assert.deepEqual(injectObject(service, OPTIONS), { object: service, notes: [] });
  });

  it("are told where nobody here knows where they have their pods", () => {
    const rollout = { kind: "Rollout", spec: { template: { spec: { containers: [{}] } } } };
    const { object, notes } = injectObject(rollout, OPTIONS);
    assert.equal(object, rollout);
    assert.match(notes.join(), /^not injected: its kind is not known here/);
  });
});
