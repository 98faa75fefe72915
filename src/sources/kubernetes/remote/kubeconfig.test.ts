import assert from "node:assert/strict";
import { generateKeyPairSync } from "node:crypto";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { before, describe, test } from "node:test";
import { inspect } from "node:util";
import { OpensslCa } from "../../../../test/fixture/openssl-ca.ts";
import { AppError } from "../../../core/error.ts";
import { readRemoteKubeconfig } from "./kubeconfig.ts";

const base64 = (text: string): string => Buffer.from(text).toString("base64");
const KEY = String(generateKeyPairSync("ec", { namedCurve: "P-256" }).privateKey.export({ type: "pkcs8", format: "pem" }));
let root = "";

type Fields = Readonly<Record<string, unknown>>;

/** As `istioctl create-remote-secret` writes it, with what differs. */
function config(
  over: { readonly cluster?: Fields; readonly user?: Fields; readonly context?: Fields; readonly top?: Fields } = {},
): string {
  return JSON.stringify({
    apiVersion: "v1",
    kind: "Config",
    preferences: {},
    "current-context": "west",
    clusters: [{ name: "west", cluster: { server: "https://10.1.0.1:6443", "certificate-authority-data": base64(root), ...over.cluster } }],
    contexts: [{ name: "west", context: { cluster: "west", user: "west", ...over.context } }],
    users: [{ name: "west", user: over.user ?? { token: "a.b.c" } }],
    ...over.top,
  });
}

function refusal(text: string): string {
  try {
    readRemoteKubeconfig(text);
  } catch (error) {
    assert.ok(error instanceof AppError);
    assert.equal(error.code, "invalid-configuration");
    return error.message;
  }
  return "taken";
}

before(() => {
  const folder = mkdtempSync(join(tmpdir(), "gk-"));
  try {
    const ca = new OpensslCa(folder);
    ca.make("root");
    root = ca.text("root.pem");
  } finally {
    rmSync(folder, { recursive: true });
  }
});

describe("a kubeconfig of another cluster", () => {
  test("says where its API server is, by whose root it is known, and the token", () => {
    const { server, ca, credential } = readRemoteKubeconfig(
      config({ cluster: { server: "https://10.1.0.1:6443/", "tls-server-name": "api" } }),
    );
    assert.deepEqual([server, ca.trim()], ["https://10.1.0.1:6443", root.trim()]);
    assert.equal(credential.kind === "token" && credential.token.reveal(), "a.b.c");
    assert.ok(!inspect(credential).includes("a.b.c"));
  });

  test("may have a client certificate instead", () => {
    const user = { "client-certificate-data": base64(root), "client-key-data": base64(KEY) };
    const { credential } = readRemoteKubeconfig(config({ user }));
    assert.equal(credential.kind === "certificate" && credential.key.reveal(), KEY);
  });

  test("looks at the current context alone", () => {
    const users = [
      { name: "west", user: { token: "a.b.c" } },
      { name: "other", user: { exec: { command: "sh" } } },
    ];
    assert.equal(readRemoteKubeconfig(config({ top: { users } })).credential.kind, "token");
  });
});

describe("a kubeconfig is refused that", () => {
  const users: readonly (readonly [string, Fields, RegExp])[] = [
    ["runs a program", { exec: { command: "sh" } }, /`exec` in the user of the kubeconfig is refused/],
    ["runs a program beside a token", { token: "a", exec: { command: "sh" } }, /`exec`/],
    ["has a plugin", { "auth-provider": { name: "gcp" } }, /`auth-provider`/],
    ["reads a token from a file", { tokenFile: "/var/run/token" }, /`tokenFile`/],
    ["reads a key from a file", { "client-certificate-data": "a", "client-key": "/k" }, /`client-key`/],
    ["has a password", { username: "a", password: "b" }, /`username`/],
    ["is somebody else", { token: "a", as: "system:admin" }, /`as` in the user/],
    ["has a field that nobody knows", { token: "a", tokens: "b" }, /`tokens` in the user of the kubeconfig is not known/],
    ["has no credential", {}, /has not one credential/],
    ["has two", { token: "a", "client-certificate-data": base64("x") }, /has not one credential|no certificates/],
    ["has a token that is no token", { token: "a\nb: c" }, /`token` of the kubeconfig is not one token/],
    ["has a token of another type", { token: 7 }, /`token` of the kubeconfig is not a text/],
    ["has a key that is none", { "client-certificate-data": "", "client-key-data": base64("x") }, /has not one credential/],
  ];
  for (const [what, user, reason] of users) test(what, () => assert.match(refusal(config({ user })), reason));

  const clusters: readonly (readonly [string, Fields, RegExp])[] = [
    ["turns verification off", { "insecure-skip-tls-verify": true }, /`insecure-skip-tls-verify` is refused/],
    ["turns it off in a word", { "insecure-skip-tls-verify": "true" }, /`insecure-skip-tls-verify` is refused/],
    ["reads a root from a file", { "certificate-authority": "/etc/passwd" }, /`certificate-authority` in the cluster/],
    ["goes by a proxy", { "proxy-url": "http://a" }, /`proxy-url`/],
    ["has no root", { "certificate-authority-data": "" }, /has no `certificate-authority-data`/],
    ["has a root that is none", { "certificate-authority-data": base64("nothing") }, /no certificates in PEM/],
    ["has a root that is not base64", { "certificate-authority-data": "{}" }, /not base64/],
    ["is not reached by TLS", { server: "http://10.1.0.1" }, /not reached by TLS/],
    ["has a password in its address", { server: "https://a:b@10.1.0.1" }, /not reached by TLS at a plain/],
    ["has a query in its address", { server: "https://10.1.0.1/?a" }, /not reached by TLS at a plain/],
    ["has no address", { server: "" }, /has no `server`/],
  ];
  for (const [what, cluster, reason] of clusters) test(what, () => assert.match(refusal(config({ cluster })), reason));

  const texts: readonly (readonly [string, () => string, RegExp])[] = [
    ["is too long", () => `${config()}${" ".repeat(70_000)}`, /longer than 65536 bytes/],
    ["is no YAML", () => "a: [", /not plain YAML/],
    ["has aliases, of which few say much", () => "a: &a [x, x]\nb: [*a, *a]", /not plain YAML/],
    ["has a field twice", () => "kind: Config\nkind: Config", /not plain YAML/],
    ["is no map", () => "[]", /not a map/],
    ["is empty", () => "", /not a map/],
    ["is of another kind", () => config({ top: { kind: "Secret" } }), /no kubeconfig/],
    ["names no context", () => config({ top: { "current-context": "" } }), /no `current-context`/],
    ["names a context that is not there", () => config({ top: { "current-context": "east" } }), /not one entry `east`/],
    [
      "has its user twice",
      () => config({ top: { users: [0, 1].map(() => ({ name: "west", user: { token: "a" } })) } }),
      /not one entry `west`/,
    ],
    ["has more entries than anybody needs", () => config({ top: { users: Array(17).fill({}) } }), /at most 16/],
  ];
  for (const [what, text, reason] of texts) test(what, () => assert.match(refusal(text()), reason));

  test("and no refusal has a word of the credential", () => {
    const user = { token: "the-token", as: "x" };
    assert.ok(!refusal(config({ user })).includes("the-token"));
  });
});
