import assert from "node:assert/strict";
import { join } from "node:path";
import { describe, it, type TestContext } from "node:test";
import fc from "fast-check";
import { FakeCloud, INDEFINITE, instanceDocument, issuersOf } from "../../../test/fixture/outside-issuers.ts";
import { tempFolder } from "../../../test/fixture/temp-folder.ts";
import { ALGORITHMS, hmacToken, SigningKey, unsignedToken } from "../../../test/fixture/tokens.ts";
import { AppError } from "../../core/error.ts";
import { formatSpiffeId } from "../../identity/spiffe-id.ts";
import { DEFAULT_TRUST_DOMAIN } from "../../identity/trust-domain.ts";
import type { PublicJwk } from "../../policy/jwks.ts";
import { InstanceJoins } from "./instance-joins.ts";
import { OutsideIdentities } from "./outside-authenticator.ts";

const NOW = Date.parse("2026-11-19T16:40:00Z");
const SECONDS = NOW / 1000;
const ISSUER = "https://idp.example.org";
const CLAIMS = { iss: ISSUER, aud: "istio-ca", exp: SECONDS + 600, sub: "ci", repository: "acme/photo" };
const ACCOUNTS = [{ when: { repository: "acme/photo" }, account: "shop/web" }];
const key = new SigningKey("k1");

interface World {
  readonly issuers: readonly unknown[];
  readonly keys?: () => readonly PublicJwk[];
  readonly now?: () => number;
}

function open(t: TestContext, { issuers, keys = () => [], now = () => NOW }: World) {
  const joins = new InstanceJoins(join(tempFolder(t), "joins.sqlite"));
  t.after(() => joins.close());
  return new OutsideIdentities({ trustDomain: DEFAULT_TRUST_DOMAIN, issuers: issuersOf(...issuers), keysOf: keys, joins, clock: { now } });
}

/** The identity that a credential proves and by what, as one text; undefined where it is none of a known issuer. */
async function ask(identities: OutsideIdentities, credential: string, how: "use" | "look" = "use"): Promise<string | undefined> {
  const proof = await identities.authenticator(how).authenticate({ certificate: undefined, authorization: [`Bearer ${credential}`] });
  return proof === undefined ? undefined : `${formatSpiffeId(proof.identity)} by ${proof.by}`;
}

const refused = (why: string) => ({ code: "unauthenticated", message: new RegExp(why) });
const oidc = (more: Readonly<Record<string, unknown>> = {}) => ({
  name: "idp",
  kind: "oidc",
  issuer: ISSUER,
  audiences: ["istio-ca", "mesh"],
  jwksUri: `${ISSUER}/keys`,
  accounts: ACCOUNTS,
  ...more,
});

describe("tokens of an OIDC issuer", () => {
  it("stand for the account of their claims, in this mesh's trust domain alone", async (t) => {
    const identities = open(t, { issuers: [oidc()], keys: () => key.publicKeys() });
    const expected = "spiffe://cluster.local/ns/shop/sa/web by issuer idp";
    assert.equal(await ask(identities, key.token(CLAIMS)), expected);
    assert.equal(await ask(identities, key.token({ ...CLAIMS, sub: "spiffe://other.org/ns/a/sa/b", trust_domain: "other.org" })), expected);
    assert.equal(await ask(identities, key.token({ ...CLAIMS, aud: ["x", "mesh"] })), expected);
  });

  for (const algorithm of ALGORITHMS)
    it(`are verified by ${algorithm}`, async (t) => {
      const own = new SigningKey("k", algorithm);
      const identities = open(t, { issuers: [oidc()], keys: () => own.publicKeys() });
      assert.match((await ask(identities, own.token(CLAIMS))) ?? "", /shop\/sa\/web/);
    });

  it("are refused with a reason that helps their owner", async (t) => {
    const identities = open(t, { issuers: [oidc()], keys: () => key.publicKeys() });
    const stranger = new SigningKey("k1");
    const cases: readonly (readonly [token: string, why: string])[] = [
      [stranger.token(CLAIMS), "signature does not hold"],
      [new SigningKey("k2").token(CLAIMS), "no key of that name"],
      [key.token({ ...CLAIMS, exp: SECONDS - 60 }), "expired"],
      [key.token({ ...CLAIMS, nbf: SECONDS + 60 }), "not valid yet"],
      [key.token({ ...CLAIMS, exp: undefined }), "claim `exp`"],
      [key.token({ ...CLAIMS, aud: "other" }), "another audience"],
      [key.token({ ...CLAIMS, aud: undefined }), "claim `aud`|another audience"],
      [key.token({ ...CLAIMS, repository: "acme/other" }), "stand for no service account"],
      [hmacToken(key.publicPem(), CLAIMS, { kid: "k1" }), "refused"],
      [key.token(CLAIMS, { crit: ["x"], x: 1 }), "refused"],
      [key.token(CLAIMS, { b64: false, crit: ["b64"] }), "refused"],
    ];
    for (const [token, why] of cases) await assert.rejects(ask(identities, token), refused(why), why);
    assert.equal(await ask(identities, unsignedToken(CLAIMS)), undefined);
  });

  it("are asked of no other issuer than the one that they name", async (t) => {
    const other = new SigningKey("k1");
    const second = oidc({ name: "second", issuer: "https://second", jwksUri: "https://second/keys", audiences: ["istio-ca"] });
    const keys = new Map([
      [`${ISSUER}/keys`, key.publicKeys()],
      ["https://second/keys", other.publicKeys()],
    ]);
    const identities = new OutsideIdentities({
      trustDomain: DEFAULT_TRUST_DOMAIN,
      issuers: issuersOf(oidc(), second),
      keysOf: ({ url }) => keys.get(url) ?? [],
      joins: new InstanceJoins(join(tempFolder(t), "joins.sqlite")),
      clock: { now: () => NOW },
    });
    assert.match((await ask(identities, other.token({ ...CLAIMS, iss: "https://second" }))) ?? "", /issuer second/);
    await assert.rejects(ask(identities, other.token(CLAIMS)), refused("signature"));
    assert.equal(await ask(identities, key.token({ ...CLAIMS, iss: `${ISSUER}/` })), undefined);
    // What the mesh's own issuer would say of it does not matter either.
    const own = { name: "token", authenticate: async () => assert.fail("nobody else is asked") };
    const credentials = { certificate: undefined, authorization: [`Bearer ${key.token(CLAIMS)}`] };
    assert.equal(await identities.except(own).authenticate(credentials), undefined);
  });

  it("are refused while there are no keys, and taken with those that come", async (t) => {
    let keys: readonly PublicJwk[] = [];
    const identities = open(t, { issuers: [oidc()], keys: () => keys });
    await assert.rejects(ask(identities, key.token(CLAIMS)), refused("could not be fetched yet"));
    keys = key.publicKeys();
    assert.match((await ask(identities, key.token(CLAIMS))) ?? "", /web/);
    keys = new SigningKey("k1").publicKeys();
    await assert.rejects(ask(identities, key.token(CLAIMS)), refused("signature"));
  });
});

describe("tokens of a Kubernetes cluster", () => {
  const east = { name: "east", kind: "kubernetes", issuer: ISSUER, audiences: ["istio-ca"], namespaces: ["shop"] };
  const bound = (namespace: string, name: string) => ({
    ...CLAIMS,
    sub: `system:serviceaccount:${namespace}:${name}`,
    "kubernetes.io": { namespace, serviceaccount: { name, uid: "1" }, pod: { name: "p", uid: "2" } },
  });

  it("stand for their own account, in the namespaces that are shared", async (t) => {
    const identities = open(t, { issuers: [east], keys: () => key.publicKeys() });
    assert.equal(await ask(identities, key.token(bound("shop", "web"))), "spiffe://cluster.local/ns/shop/sa/web by issuer east");
    await assert.rejects(ask(identities, key.token(bound("bank", "web"))), refused("counts here"));
    const all = open(t, { issuers: [{ ...east, namespaces: ["*"] }], keys: () => key.publicKeys() });
    assert.match((await ask(all, key.token(bound("bank", "web")))) ?? "", /ns\/bank\/sa\/web/);
  });

  it("are refused where subject and binding differ, or where there is no account", async (t) => {
    const identities = open(t, { issuers: [east], keys: () => key.publicKeys() });
    const odd: readonly Readonly<Record<string, unknown>>[] = [
      { ...bound("shop", "web"), sub: "system:serviceaccount:shop:db" },
      { ...bound("shop", "web"), "kubernetes.io": undefined },
      { ...bound("shop", "web"), "kubernetes.io": { namespace: "shop", serviceaccount: "web" } },
      { ...bound("shop", "web"), sub: "system:serviceaccount:shop:web:x" },
      { ...bound("shop", "web"), sub: "system:node:shop:web" },
      { ...bound("shop", "web"), sub: undefined },
      bound("shop", "a/sa/b"),
      bound("", ""),
    ];
    for (const claims of odd) await assert.rejects(ask(identities, key.token(claims)), refused("counts here"), JSON.stringify(claims));
  });
});

describe("tokens of Google's instances", () => {
  const gcp = {
    name: "google",
    kind: "gcp",
    audiences: ["istio-ca"],
    accounts: [
      {
        when: { google: { compute_engine: { project_id: "acme", zone: ["europe-west3-a", "europe-west3-b"] } } },
        account: "shop/{google[compute_engine][instance_name]}",
      },
      { when: { email: "web@acme.iam.gserviceaccount.com" }, account: "shop/web" },
    ],
  };
  const instance = (more: Readonly<Record<string, unknown>> = {}) => ({
    ...CLAIMS,
    iss: "https://accounts.google.com",
    google: { compute_engine: { project_id: "acme", zone: "europe-west3-a", instance_id: "1", instance_name: "web-1", ...more } },
  });
  const email = { email: "web@acme.iam.gserviceaccount.com", google: undefined };

  it("stand for the account of their project, zone and instance, or of their Google account", async (t) => {
    const identities = open(t, { issuers: [gcp], keys: () => key.publicKeys() });
    assert.equal(await ask(identities, key.token(instance())), "spiffe://cluster.local/ns/shop/sa/web-1 by issuer google");
    assert.match((await ask(identities, key.token({ ...instance(), ...email, email_verified: true }))) ?? "", /ns\/shop\/sa\/web /);
  });

  it("are refused for another project or zone, and for an address that nobody verified", async (t) => {
    const identities = open(t, { issuers: [gcp], keys: () => key.publicKeys() });
    for (const more of [{ project_id: "evil" }, { zone: "us-east1-a" }, { project_id: undefined }])
      await assert.rejects(ask(identities, key.token(instance(more))), refused("no service account"));
    await assert.rejects(ask(identities, key.token({ ...instance(), ...email })), refused("no service account"));
    await assert.rejects(ask(identities, key.token({ ...instance(), ...email, email_verified: "true" })), refused("no service account"));
  });
});

describe("documents of AWS' instances", () => {
  function ec2(t: TestContext, more: Readonly<Record<string, unknown>> = {}, now: () => number = () => NOW) {
    const cloud = new FakeCloud(tempFolder(t));
    const accounts = [{ when: { accountId: "123456789012", region: ["eu-central-1"] }, account: "shop/web" }];
    const issuer = { name: "ec2", kind: "aws", certificates: cloud.certificate, maxAge: "10m", accounts, ...more };
    const sign = (document = instanceDocument(), ...flags: readonly string[]) =>
      cloud.sign(document, [...INDEFINITE, ...flags]).replace(/\s/g, "");
    return { cloud, sign, identities: open(t, { issuers: [issuer], now }) };
  }

  it("stand for the account of what they say, once; to look uses nothing up", async (t) => {
    const { sign, identities } = ec2(t);
    const expected = "spiffe://cluster.local/ns/shop/sa/web by issuer ec2 123456789012/i-1234567890abcdef0";
    const document = sign();
    for (const how of ["look", "look", "use"] as const) assert.equal(await ask(identities, document, how), expected);
    for (const how of ["look", "use"] as const) await assert.rejects(ask(identities, document, how), refused("has joined already"));
    await assert.rejects(ask(identities, sign()), refused("has joined already"));
    const restarted = sign(instanceDocument({ pendingTime: "2026-11-19T16:39:00Z" }));
    assert.equal(await ask(identities, restarted), expected);
    await assert.rejects(ask(identities, document), refused("has joined already"));
  });

  it("let one of many callers in that bring the same at once", async (t) => {
    const { sign, identities } = ec2(t);
    const document = sign();
    const outcomes = await Promise.allSettled(Array.from({ length: 20 }, () => ask(identities, document)));
    assert.equal(outcomes.filter(({ status }) => status === "fulfilled").length, 1);
  });

  it("are read in definite and indefinite lengths, in pieces, and with certificates that count for nothing", async (t) => {
    const { cloud, identities } = ec2(t);
    const document = (instance: number) => instanceDocument({ instanceId: `i-0000000${instance}` });
    const indefinite = cloud.sign(document(1)).replace(/\s/g, "");
    assert.match(indefinite, /^MIAG/);
    const definite = cloud.sign(document(2), []).replace(/\s/g, "");
    assert.match(definite, /^MII/);
    const certified = cloud.sign(document(3), [...INDEFINITE, "-certfile", "cloud.pem"]).replace(/\s/g, "");
    for (const each of [indefinite, definite, certified]) assert.match((await ask(identities, each)) ?? "", /shop/);
  });

  it("are refused with a reason", async (t) => {
    const { sign, identities } = ec2(t);
    const stranger = ec2(t);
    const cases: readonly (readonly [document: string, why: string])[] = [
      [stranger.sign(), "signature"],
      [sign(instanceDocument(), "-noattr"), "no signed attributes|PKCS#7|RSA"],
      [sign(instanceDocument(), "-md", "sha1"), "RSA with SHA-256"],
      [sign("not json at all, and longer than the shape of a document wants it"), "not JSON"],
      [sign(`{"accountId":"1",${instanceDocument().slice(1)}`), "not JSON"],
      [sign(instanceDocument({ accountId: "210987654321" })), "no service account"],
      [sign(instanceDocument({ region: "us-east-1" })), "no service account"],
      [sign(instanceDocument({ accountId: 123456789012 })), "name its instance"],
      [sign(instanceDocument({ instanceId: "i-1/../2" })), "name its instance"],
      [sign(instanceDocument({ pendingTime: "2026-11-19T16:29:59Z" })), "too long ago"],
      [sign(instanceDocument({ pendingTime: "2026-11-19T17:29:59Z" })), "in the future"],
      [sign(instanceDocument({ pendingTime: "yesterday" })), "when its instance was started"],
    ];
    for (const [document, why] of cases) await assert.rejects(ask(identities, document), refused(why), why);
  });

  it("are refused after any change, and nothing else ever comes out of them", async (t) => {
    const { sign, identities } = ec2(t);
    const good = Buffer.from(sign(), "base64");
    const change = fc.tuple(fc.nat({ max: good.length - 1 }), fc.integer({ min: 1, max: 255 }));
    // The signer's name counts for nothing, and other spellings of a length say the same.
    await fc.assert(
      fc.asyncProperty(change, async ([at, bits]) => {
        const changed = Buffer.from(good);
        changed[at] = (changed[at] ?? 0) ^ bits;
        try {
          assert.match(
            (await ask(identities, changed.toString("base64"), "look")) ?? "",
            /^(|spiffe:\/\/cluster.local\/ns\/shop\/sa\/web .*)$/,
          );
        } catch (error) {
          assert.ok(error instanceof AppError && error.code === "unauthenticated", String(error));
        }
      }),
      { numRuns: 300 },
    );
  });

  it("are refused where no cloud is configured, without a question to anybody else", async (t) => {
    const { sign } = ec2(t);
    const identities = open(t, { issuers: [oidc()] });
    await assert.rejects(ask(identities, sign()), refused("no instance identity documents are taken here"));
  });

  it("count as used after a restart", (t) => {
    const file = join(tempFolder(t), "joins.sqlite");
    const instance = { instance: "123456789012/i-1", pendingAt: NOW };
    const first = new InstanceJoins(file);
    first.use(instance, NOW);
    first.close();
    const second = new InstanceJoins(file);
    t.after(() => second.close());
    assert.throws(() => second.use(instance, NOW), refused("has joined already"));
  });
});
