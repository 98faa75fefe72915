import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, describe, it } from "node:test";
import { ManualClock } from "../../test/fakes/manual-clock.ts";
import { formatSpiffeId } from "../identity/spiffe-id.ts";
import { DEFAULT_TRUST_DOMAIN } from "../identity/trust-domain.ts";
import type { CallerCredentials } from "./authenticators.ts";
import { boundWorkload, joinTokenAuthenticator } from "./join-authenticator.ts";
import { JoinTokens } from "./join-tokens.ts";

const SUBJECT = { namespace: "shop", name: "client", workload: "shop/client" };
const IDENTITY = "spiffe://cluster.local/ns/shop/sa/client";
const MINUTE_MS = 60_000;

let folder: string;
let path: string;
let clock: ManualClock;
let tokens: JoinTokens;
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), "garrison-join-"));
  path = join(folder, "join-tokens.sqlite");
  clock = new ManualClock(Date.UTC(2026, 0, 1));
  tokens = new JoinTokens(path, clock);
});
afterEach(() => {
  tokens.close();
  rmSync(folder, { recursive: true });
});

const refused = (why: string) => ({ code: "unauthenticated", message: `the join token was refused: ${why}` });
const credentials = (...authorization: readonly string[]): CallerCredentials => ({ certificate: undefined, authorization });

describe("a join token", () => {
  it("is good once, for the account that it was made for", () => {
    const { token } = tokens.create(SUBJECT, 600);
    assert.match(token, /^join-[\w-]{43}$/);
    assert.deepEqual(tokens.look(token).workload, "shop/client");
    const { namespace, name } = tokens.use(token);
    assert.deepEqual([namespace, name], ["shop", "client"]);
    assert.throws(() => tokens.use(token), refused("already used"));
    assert.throws(() => tokens.look(token), refused("already used"));
  });

  it("is good once also for callers who come at the same time (SPIRE's time of check, time of use)", async () => {
    const { token } = tokens.create(SUBJECT, 600);
    const options = { trustDomain: DEFAULT_TRUST_DOMAIN, tokens, accountOf: () => IDENTITY };
    const authenticator = joinTokenAuthenticator(options, "use");
    const outcomes = await Promise.allSettled(Array.from({ length: 50 }, () => authenticator.authenticate(credentials(`Bearer ${token}`))));
    assert.equal(outcomes.filter(({ status }) => status === "fulfilled").length, 1);
  });

  it("stays used after a restart, and an unused one stays good", () => {
    const [used, unused] = [tokens.create(SUBJECT, 600).token, tokens.create(SUBJECT, 600).token];
    tokens.use(used);
    tokens.close();
    tokens = new JoinTokens(path, clock);
    assert.throws(() => tokens.use(used), refused("already used"));
    assert.equal(tokens.use(unused).name, "client");
  });

  it("expires, and is forgotten a month later", async () => {
    const { token } = tokens.create(SUBJECT, 60);
    await clock.advance(MINUTE_MS - 1);
    assert.equal(tokens.look(token).name, "client");
    await clock.advance(1);
    assert.throws(() => tokens.use(token), refused("expired"));
    await clock.advance(31 * 86_400_000);
    tokens.create(SUBJECT, 60);
    assert.throws(() => tokens.use(token), refused("unknown"));
  });

  it("is refused where it was never made, or is none", () => {
    const { token } = tokens.create(SUBJECT, 600);
    const other = `${token.slice(0, -2)}${token.endsWith("AA") ? "BB" : "AA"}`;
    for (const text of [other, "", "join-", `${token} `, token.toUpperCase(), "join-%"])
      assert.throws(() => tokens.use(text), refused("unknown"));
    assert.equal(tokens.use(token).name, "client");
  });

  it("is kept as a hash alone, in a file of its owner, and is listed without itself", () => {
    const { token } = tokens.create(SUBJECT, 600);
    const [record] = tokens.list(10);
    assert.deepEqual(record, { ...record, ...SUBJECT, createdAt: clock.now(), expiresAt: clock.now() + 600_000, usedAt: undefined });
    assert.equal(JSON.stringify(record).includes(token.slice(5, 15)), false);
    tokens.close();
    assert.equal(readFileSync(path, "latin1").includes(token.slice(5)), false);
    assert.equal(statSync(path).mode & 0o777, 0o600);
    tokens = new JoinTokens(path, clock);
  });
});

describe("authentication by a join token", () => {
  let runsAs: string | undefined = IDENTITY;
  const authenticator = (how: "use" | "look") =>
    joinTokenAuthenticator({ trustDomain: DEFAULT_TRUST_DOMAIN, tokens, accountOf: () => runsAs }, how);
  beforeEach(() => {
    runsAs = IDENTITY;
  });

  it("proves the account; to look uses nothing up", async () => {
    const { token } = tokens.create(SUBJECT, 600);
    for (const how of ["look", "look", "use"] as const) {
      const proof = await authenticator(how).authenticate(credentials(`Bearer ${token}`));
      assert.equal(proof === undefined ? "" : formatSpiffeId(proof.identity), IDENTITY);
    }
    await assert.rejects(authenticator("look").authenticate(credentials(`Bearer ${token}`)), refused("already used"));
  });

  it("holds while the workload runs as that account, and the token is not used up by a refusal", async () => {
    const { token } = tokens.create(SUBJECT, 600);
    for (const other of [undefined, "spiffe://cluster.local/ns/shop/sa/other", "spiffe://other.org/ns/shop/sa/client"]) {
      runsAs = other;
      await assert.rejects(
        authenticator("use").authenticate(credentials(`Bearer ${token}`)),
        refused("its workload is not there any more"),
      );
    }
    runsAs = IDENTITY;
    assert.equal((await authenticator("use").authenticate(credentials(`Bearer ${token}`)))?.identity.serviceAccount, "client");
  });

  it("is silent for whatever else a call brings", async () => {
    const { token } = tokens.create(SUBJECT, 600);
    const options = { trustDomain: DEFAULT_TRUST_DOMAIN, tokens, accountOf: () => runsAs };
    for (const others of [[], ["Bearer a.b.c"], [`Basic ${token}`], [`Bearer ${token}`, "Bearer x"]]) {
      assert.equal(await authenticator("use").authenticate(credentials(...others)), undefined);
      assert.equal(boundWorkload(options, credentials(...others)), undefined);
    }
    assert.equal(boundWorkload(options, credentials(`Bearer ${token}`)), "shop/client");
    tokens.use(token);
    assert.equal(boundWorkload(options, credentials(`Bearer ${token}`)), undefined);
  });
});
