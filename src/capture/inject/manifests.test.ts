import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { parseAllDocuments } from "yaml";
import type { InjectOptions } from "./containers.ts";
import { injectManifests } from "./manifests.ts";

const OPTIONS: InjectOptions = {
  image: "registry.example/garrison:1",
  controlPlane: "garrison.garrison-system.svc:15012",
  trustDomain: "cluster.local",
};

const DEPLOYMENT = `# What sells.
apiVersion: apps/v1
kind: Deployment
metadata:
  name: cart   # of the shop
  labels: &labels { app: cart, enabled: "yes" }
spec:
  selector: { matchLabels: *labels }
  template:
    metadata:
      labels: *labels
      annotations:
        flags: "on"
        count: "1_000"
        bits: "0b1"
    spec:
      containers:
        # The one that serves.
        - &app
          name: app
          image: cart
          env:
            - { name: DEBUG, value: "no" }
            - name: MOTD
              value: |
                # not a comment
                one: "two"
          ports: [{ name: web, containerPort: 8080 }]
          readinessProbe: { httpGet: { path: /ready, port: web } }
        - { <<: *app, name: second, ports: [{ name: web, containerPort: 8081 }] }
      volumes:
        - name: keys
          secret: { secretName: keys, defaultMode: 0400 }
`;

const OTHERS = `%YAML 1.1
---
apiVersion: v1
kind: ConfigMap
metadata: {name: odd}   # as it is
data:   {"on": "off", mode: "0755", big:  '1_000'}
...
# Between.
---
# Nothing here.
---
apiVersion: v1
kind: Service
metadata: {   name: cart }
`;

function inject(text: string): { readonly out: string; readonly told: readonly string[] } {
  const told: string[] = [];
  const out = injectManifests(text, OPTIONS, (object, what) => void told.push(`${object}: ${what}`));
  return { out, told };
}

function read(text: string, version: "1.1" | "1.2"): readonly unknown[] {
  return parseAllDocuments(text, { version }).map((document) => document.toJS());
}

type Template = {
  readonly metadata: { readonly labels: unknown; readonly annotations: unknown };
  readonly spec: { readonly containers: readonly Record<string, unknown>[]; readonly volumes: readonly unknown[] };
};

function templateOf(text: string, version: "1.1" | "1.2"): Template {
  const [deployment] = read(text, version) as readonly { readonly spec: { readonly template: Template } }[];
  assert.ok(deployment !== undefined);
  return deployment.spec.template;
}

describe("manifests with pods", () => {
  it("keep what they say, to readers of YAML 1.1 and of 1.2", () => {
    const { out } = inject(DEPLOYMENT);
    for (const version of ["1.1", "1.2"] as const) {
      const [before, after] = [templateOf(DEPLOYMENT, "1.1"), templateOf(out, version)];
      assert.deepEqual(after.metadata.labels, { app: "cart", enabled: "yes", "security.istio.io/tlsMode": "istio" });
      assert.deepEqual(
        { ...(after.metadata.annotations as object), ...(before.metadata.annotations as object) },
        after.metadata.annotations,
      );
      const same = ({ name, image, env, ports }: Record<string, unknown>) => ({ name, image, env, ports });
      assert.deepEqual(after.spec.containers.map(same), before.spec.containers.map(same));
      assert.equal(after.spec.volumes.length, 4);
    }
    assert.match(out, /defaultMode: 0400\b/);
    assert.deepEqual(templateOf(out, "1.1").spec.volumes[0], { name: "keys", secret: { secretName: "keys", defaultMode: 0o400 } });
  });

  it("keep their comments, and lose their aliases, of which only one end was to change", () => {
    const { out } = inject(DEPLOYMENT);
    for (const comment of ["# What sells.", "# of the shop", "# The one that serves."]) assert.ok(out.includes(comment), comment);
    assert.doesNotMatch(out, /[&*](labels|app)\b|<<:/);
    const [{ spec }] = read(out, "1.1") as [{ spec: { selector: unknown } }];
    assert.deepEqual(spec.selector, { matchLabels: { app: "cart", enabled: "yes" } });
  });

  it("take an alias for the last anchor of its name that is written before it, and not for one of a copy", () => {
    const nested = `apiVersion: v1
kind: Pod
metadata:
  name: a
  annotations: { one: &one { port: &port "1" }, other: &port "2", copy: *one, last: *port }
spec: { containers: [{ name: app, image: app }] }
`;
    const annotations = (text: string) => (read(text, "1.2") as [{ metadata: { annotations: object } }])[0].metadata.annotations;
    const before = { one: { port: "1" }, other: "2", copy: { port: "1" }, last: "2" };
    assert.deepEqual(annotations(nested), before);
    const after = annotations(inject(nested).out);
    assert.deepEqual({ ...after, ...before }, after);
  });

  it("lead the probes of each container to its own port", () => {
    const probes = /--app-probes=(\{.*\})/.exec(inject(DEPLOYMENT).out)?.[1] ?? "";
    const asked = JSON.parse(probes.replaceAll('\\"', '"')) as Record<string, { readonly port: number }>;
    assert.deepEqual([asked["/app-health/app/readyz"]?.port, asked["/app-health/second/readyz"]?.port], [8080, 8081]);
  });

  it("are what they were when they are injected again", () => {
    const { out } = inject(DEPLOYMENT + OTHERS.slice(OTHERS.indexOf("---")));
    const again = inject(out);
    assert.equal(again.out, out);
    assert.deepEqual(again.told, ["Deployment cart: not injected: it has been injected already"]);
  });
});

describe("documents without pods", () => {
  it("pass byte for byte, wherever they stand", () => {
    assert.equal(inject(OTHERS).out, OTHERS);
    const { out } = inject(`${OTHERS}---\n${DEPLOYMENT}---\n${OTHERS.slice(OTHERS.indexOf("apiVersion"))}`);
    assert.ok(out.startsWith(OTHERS));
    assert.ok(out.endsWith(OTHERS.slice(OTHERS.indexOf("apiVersion"))));
    assert.equal(read(out, "1.1").length, 7);
    for (const text of ["", "# nothing\n", "- 1\n", "plain"]) assert.equal(inject(text).out, text);
  });
});

describe("lists", () => {
  const pod = "{ metadata: { name: a }, spec: { containers: [{ name: app }] } }";

  it("of pods have their pods injected, also where items do not say what they are", () => {
    for (const [kind, item] of [
      ["PodList", pod],
      ["List", `{ kind: Pod, ${pod.slice(1)}`],
      ["PodTemplateList", `{ template: ${pod} }`],
    ] as const)
      assert.match(inject(`kind: ${kind}\nitems: [${item}]\n`).out, /garrison-proxy/);
    assert.equal(inject(`kind: WidgetList\nitems: [${pod}]\n`).out, `kind: WidgetList\nitems: [${pod}]\n`);
  });

  it("name the item that is not injected, and the one that is wrong", () => {
    const { told } = inject(`kind: PodList\nitems: [{ metadata: { name: a }, spec: { hostNetwork: true } }]\n`);
    assert.match(told.join(), /^Pod a: not injected: it has its node's network/);
    const wrong = "{ metadata: { name: b }, spec: { containers: [{ name: garrison-proxy }] } }";
    assert.throws(() => inject(`kind: PodList\nitems: [${wrong}]\n`), /^AppError: Pod b: the pod has a container `garrison-proxy`/);
  });
});

describe("what cannot be read", () => {
  it("is refused with its place", () => {
    assert.throws(() => inject("a: b\nc: [\n"), /the file is not YAML: .* at line 3/);
  });

  it("is bounded, however its aliases are tied", () => {
    const bomb = [
      "a: &a [1, 1, 1, 1, 1, 1, 1, 1, 1]",
      ..."bcdefghi".split("").map((name, index) => `${name}: &${name} [${Array(9).fill(`*${"abcdefgh"[index]}`).join()}]`),
    ];
    assert.throws(() => inject(`kind: Pod\nspec: { containers: [{ name: a }] }\n${bomb.join("\n")}\n`), /stand for too much/);
    assert.throws(() => inject("kind: Pod\nspec: { containers: [{ name: a }] }\nloop: &loop [*loop]\n"), /stand for too much/);
  });
});
