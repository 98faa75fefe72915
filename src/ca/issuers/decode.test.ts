import assert from "node:assert/strict";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { before, describe, it } from "node:test";
import { FakeCloud, issuersOf } from "../../../test/fixture/outside-issuers.ts";
import { rawNode } from "../../../test/fixture/raw-node.ts";
import { tempFolder } from "../../../test/fixture/temp-folder.ts";
import { SigningKey } from "../../../test/fixture/tokens.ts";
import { decodeIssuers } from "./decode.ts";

const JWKS = JSON.stringify({ keys: [new SigningKey("a").jwk()] });
const ACCOUNTS = [{ when: { sub: "x" }, account: "shop/web" }];
const OIDC = { name: "idp", kind: "oidc", issuer: "https://idp.example.org", audiences: ["istio-ca"], jwks: JWKS, accounts: ACCOUNTS };
const CLUSTER = { name: "east", kind: "kubernetes", issuer: "https://east.example.org", audiences: ["istio-ca"], namespaces: ["shop"] };
const GCP = { name: "google", kind: "gcp", audiences: ["garrison"], accounts: [{ when: { email: "a@b.c" }, account: "shop/web" }] };
let aws: Readonly<Record<string, unknown>>;

before(() => {
  const folder = mkdtempSync(join(tmpdir(), "garrison-test-"));
  const { certificate } = new FakeCloud(folder);
  rmSync(folder, { recursive: true });
  aws = { name: "ec2", kind: "aws", certificates: certificate, accounts: [{ when: { accountId: "123456789012" }, account: "shop/web" }] };
});

function without(issuer: Readonly<Record<string, unknown>>, field: string, more = {}): unknown {
  return { ...Object.fromEntries(Object.entries(issuer).filter(([name]) => name !== field)), ...more };
}

function problems(...issuers: readonly unknown[]): string {
  const { diagnostics } = decodeIssuers(rawNode({ issuers }), "https://cluster.local");
  return diagnostics.map(({ code, message, help }) => `${code} ${message} (${help})`).join("\n");
}

describe("decodeIssuers", () => {
  it("reads every kind", () => {
    const issuers = issuersOf(OIDC, CLUSTER, GCP, aws);
    assert.deepEqual(
      issuers.map(({ name, kind }) => `${kind} ${name}`),
      ["oidc idp", "kubernetes east", "gcp google", "aws ec2"],
    );
    const sources = issuers.map((issuer) => (issuer.kind === "aws" ? "" : issuer.jwks.kind));
    assert.deepEqual(sources, ["inline", "discovery", "uri", ""]);
  });

  const REFUSED: readonly (readonly [why: string, issuer: () => unknown, message: RegExp])[] = [
    ["no audience", () => ({ ...OIDC, audiences: [] }), /GAR0007 `issuers\[0\].audiences` must not be empty/],
    ["no condition", () => ({ ...OIDC, accounts: [{ when: {}, account: "a/b" }] }), /everybody with a token of this issuer/],
    ["an unknown field", () => ({ ...OIDC, audience: "x" }), /GAR0003 .*did you mean `audiences`/],
    ["an unknown kind", () => ({ ...OIDC, kind: "oauth" }), /GAR0007/],
    ["an account of one part", () => ({ ...OIDC, accounts: [{ when: { a: "b" }, account: "web" }] }), /does not name a service account/],
    [
      "an account with two claims in one name",
      () => ({ ...OIDC, accounts: [{ when: { a: "b" }, account: "a/{b}-{c}" }] }),
      /at most one claim/,
    ],
    ["an account with an open brace", () => ({ ...OIDC, accounts: [{ when: { a: "b" }, account: "a{/b" }] }), /does not name/],
    ["a wildcard account", () => ({ ...OIDC, accounts: [{ when: { a: "b" }, account: "a/*" }] }), /does not name/],
    ["a null as a condition", () => ({ ...OIDC, accounts: [{ when: { a: null }, account: "a/b" }] }), /GAR0006/],
    ["no keys", () => without(OIDC, "jwks", { issuer: "idp" }), /GAR0005 .*neither `jwks` nor `jwksUri`/],
    ["symmetric keys alone", () => ({ ...OIDC, jwks: '{"keys":[]}', issuer: "" }), /GAR0007/],
    ["this control plane's own issuer", () => ({ ...OIDC, issuer: "https://cluster.local" }), /its tokens are taken already/],
    ["a cluster without namespaces", () => without(CLUSTER, "namespaces"), /GAR0005 `issuers\[0\].namespaces` is missing/],
    [
      "every customer of Google",
      () => ({ ...GCP, accounts: [{ when: { google: { compute_engine: { zone: "x" } } }, account: "a/b" }] }),
      /every customer/,
    ],
    [
      "a claim that Google does not make",
      () => ({ ...GCP, accounts: [{ when: { email: "a", project: "x" }, account: "a/b" }] }),
      /nothing that this issuer says/,
    ],
    ["a template of such a claim", () => ({ ...GCP, accounts: [{ when: { email: "a" }, account: "a/{project}" }] }), /does not name/],
    ["every customer of AWS", () => ({ ...aws, accounts: [{ when: { region: "eu-central-1" }, account: "a/b" }] }), /every customer/],
    ["no certificate", () => ({ ...aws, certificates: "x" }), /not PEM/],
    ["an age of years", () => ({ ...aws, maxAge: "99999h" }), /not a time limit/],
  ];
  for (const [why, issuer, message] of REFUSED) it(`refuses ${why}`, () => assert.match(problems(issuer()), message));

  it("refuses one issuer or one name twice", () => {
    assert.match(problems(OIDC, { ...OIDC, name: "other" }), /GAR0008 .*the issuer `https:\/\/idp.example.org` twice/);
    assert.match(problems(aws, { ...aws, name: "other" }), /GAR0008/);
    assert.match(problems(OIDC, { ...CLUSTER, name: "idp" }), /the name `idp` twice/);
  });

  it("refuses RSA keys of 1024 bits", (t) => {
    const { certificate } = new FakeCloud(tempFolder(t), 1024);
    assert.match(problems({ ...aws, certificates: certificate }), /2048 bits or more/);
  });
});
