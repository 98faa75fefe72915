import assert from "node:assert/strict";
import test from "node:test";
import { DEFAULT_PROVIDER_FIELDS } from "../../test/fixture/extension-providers.ts";
import { SETTINGS } from "../../test/fixture/objects.ts";
import { API, authorizationPolicy, objectsOf } from "../../test/fixture/yaml-mesh.ts";
import { buildSnapshot } from "../mesh/snapshot.ts";
import type { ExtensionProvider } from "../policy/extension-provider.ts";
import { type CompiledMesh, compileMesh } from "./compile.ts";

const OPA = `---
apiVersion: v1
kind: Service
metadata: { name: opa, namespace: auth }
spec: { selector: { app: opa }, ports: [{ name: http, port: 8181 }, { name: grpc, port: 9191 }, { name: tcp, port: 9000 }] }
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: { name: opa, namespace: auth }
spec: { address: 127.0.0.9, serviceAccount: opa, labels: { app: opa } }
`;

const { http, grpc } = DEFAULT_PROVIDER_FIELDS;
const service = { namespace: undefined, host: "opa.auth.svc.cluster.local" };
const PROVIDERS: readonly ExtensionProvider[] = [
  { ...http, name: "opa-http", service, port: 8181 },
  { ...grpc, name: "opa-grpc", service: { ...service, namespace: "auth" }, port: 9191 },
  { ...grpc, name: "grpc-on-http", service, port: 8181 },
  { ...http, name: "http-on-tcp", service, port: 9000 },
  { ...http, name: "elsewhere", service: { namespace: "shop", host: service.host }, port: 8181 },
  { ...http, name: "no-port", service, port: 1 },
  ...["a", "b", "c", "d", "e"].map((name) => ({ ...grpc, name, service, port: 9191 })),
];

function compile(...policies: readonly (readonly [name: string, spec: string])[]): CompiledMesh {
  const text = API + OPA + policies.map(([name, spec]) => authorizationPolicy(name, spec)).join("");
  const extensionProviders = new Map(PROVIDERS.map((provider) => [provider.name, provider]));
  return compileMesh(buildSnapshot({ ...SETTINGS, extensionProviders }, objectsOf(text)));
}

function asking(provider: string, rule = "{ to: [{ operation: { paths: [/admin] } }] }"): string {
  return `{ selector: { matchLabels: { app: api } }, action: CUSTOM, provider: { name: ${provider} }, rules: [${rule}] }`;
}

/** The layers that hold rules at `shop/api`, each with its origins. */
function layersOf({ policies }: CompiledMesh, transport: "http" | "tcp"): unknown {
  const { custom = [], deny = [] } = policies.get("shop/api")?.[transport] ?? {};
  const format = ({ policy, rule }: { readonly policy: string; readonly rule: number }) => `${policy}[${rule}]`;
  return { custom: custom.map(({ provider, origin }) => `${provider}: ${format(origin)}`), deny: deny.map(({ origin }) => format(origin)) };
}

function told({ diagnostics }: CompiledMesh): readonly string[] {
  return diagnostics.filter(({ code }) => /GAR0102|GAR0201|GAR0009/.test(code)).map(({ code, message }) => `${code} ${message}`);
}

test("a provider is resolved to the endpoints of its service, each with its own identity", () => {
  const { policies } = compile(["ask", asking("opa-grpc")]);
  const [authorizer, ...others] = policies.get("shop/api")?.authorizers ?? [];
  assert.deepEqual(others, []);
  assert.partialDeepStrictEqual(authorizer, { kind: "grpc", name: "opa-grpc", timeoutMs: 600_000, statusOnError: 403 });
  const endpoint = { address: "127.0.0.9", port: 9191, identity: "spiffe://cluster.local/ns/auth/sa/opa", mtls: true };
  assert.partialDeepStrictEqual(authorizer?.upstream, { host: service.host, port: 9191, protocol: "http2", endpoints: [endpoint] });
  assert.ok(authorizer && !("place" in authorizer) && !("service" in authorizer));
});

test("a workload that no CUSTOM policy selects asks nobody", () => {
  assert.equal(compile(["ask", asking("opa-grpc")]).policies.get("shop/other")?.authorizers, undefined);
});

test("a provider of gRPC is asked of requests and of connections, whose HTTP fields fall away", () => {
  const mesh = compile(["ask", asking("opa-grpc")]);
  assert.deepEqual(layersOf(mesh, "http"), { custom: ["opa-grpc: ask[0]"], deny: [] });
  assert.deepEqual(layersOf(mesh, "tcp"), { custom: ["opa-grpc: ask[0]"], deny: [] });
  assert.deepEqual(mesh.policies.get("shop/api")?.tcp.custom?.[0]?.condition, { kind: "always" });
  assert.deepEqual(told(mesh), []);
});

test("a provider of HTTP is asked of requests, and denies the connections that nobody can be asked of, with a warning", () => {
  const mesh = compile(["ask", asking("opa-http")]);
  assert.deepEqual(layersOf(mesh, "http"), { custom: ["opa-http: ask[0]"], deny: [] });
  assert.deepEqual(layersOf(mesh, "tcp"), { custom: [], deny: ["ask[0]"] });
  const message =
    "AuthorizationPolicy `shop/ask` asks a provider of HTTP, which no TCP connection can be asked of: it denies connections to shop/api:9000";
  assert.deepEqual(told(mesh), [`GAR0201 ${message}`]);
  const scoped = compile(["ask", asking("opa-http", '{ to: [{ operation: { ports: ["8080"] } }] }')]);
  assert.deepEqual(told(scoped), []);
  const onTcp = compile(["ask", asking("opa-http", '{ to: [{ operation: { ports: ["9000"] } }] }')]);
  assert.deepEqual(told(onTcp), [`GAR0201 ${message}`]);
});

for (const [provider, why] of [
  ["nobody", "is unknown"],
  ["elsewhere", "is at `opa.auth.svc.cluster.local:8181`, which no service has"],
  ["no-port", "is at `opa.auth.svc.cluster.local:1`, which no service has"],
  ["grpc-on-http", "speaks gRPC, and the service's port is not said to"],
  ["http-on-tcp", "speaks HTTP, and the service's port is TCP"],
] as const) {
  test(`the provider ${provider} can be asked of nothing, so that what its rules match is denied, and nothing else`, () => {
    const mesh = compile(["ask", asking(provider)], ["fine", asking("opa-grpc")]);
    assert.deepEqual(layersOf(mesh, "http"), { custom: ["opa-grpc: fine[0]"], deny: ["ask[0]"] });
    const [rule] = mesh.policies.get("shop/api")?.http.deny ?? [];
    assert.equal(rule?.condition.kind, "when");
    const message = `AuthorizationPolicy \`shop/ask\` asks the extension provider \`${provider}\`, which ${why}: what its rules match is denied`;
    assert.deepEqual(told(mesh), [`GAR0102 ${message}`]);
  });
}

test("providers have places that follow from their names, and are asked in their order", () => {
  const both = compile(["one", asking("opa-http")], ["two", asking("opa-grpc")]).policies.get("shop/api")?.http.custom ?? [];
  const alone = compile(["two", asking("opa-grpc")]).policies.get("shop/api")?.http.custom ?? [];
  assert.equal(both.find(({ provider }) => provider === "opa-grpc")?.place, alone[0]?.place);
  const places = both.map(({ place }) => place);
  assert.deepEqual(places, [...places].sort());
  assert.equal(new Set(places).size, 2);
});

test("of more providers than there are places the rules deny, and it is told", () => {
  const mesh = compile(...["a", "b", "c", "d", "e"].map((name) => [`ask-${name}`, asking(name)] as const));
  assert.deepEqual(layersOf(mesh, "http"), {
    custom: (mesh.policies.get("shop/api")?.http.custom ?? []).map(({ provider }) => `${provider}: ask-${provider}[0]`),
    deny: ["ask-e[0]"],
  });
  assert.equal(mesh.policies.get("shop/api")?.http.custom?.length, 4);
  assert.deepEqual(told(mesh), [
    "GAR0009 workload `shop/api` asks 5 extension providers over HTTP, more than 4: the rules of the others deny",
    "GAR0009 workload `shop/api` asks 5 extension providers over TCP, more than 2: the rules of the others deny",
  ]);
});

test("an invalid CUSTOM policy denies everything that it selects", () => {
  const mesh = compile(["ask", "{ selector: { matchLabels: { app: api } }, action: CUSTOM, rules: [{}] }"]);
  assert.deepEqual(layersOf(mesh, "http"), { custom: [], deny: ["ask[0]"] });
  assert.deepEqual(mesh.policies.get("shop/api")?.http.deny[0]?.condition, { kind: "always" });
});
