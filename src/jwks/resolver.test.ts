import assert from "node:assert/strict";
import { readdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { describe, it } from "node:test";
import { tempFolder } from "../../test/fixture/temp-folder.ts";
import { SigningKey } from "../../test/fixture/tokens.ts";
import { systemClock } from "../core/clock.ts";
import { AppError } from "../core/error.ts";
import { silentLogger } from "../core/logger.ts";
import type { PublicJwk, ReadJwks } from "../policy/jwks.ts";
import type { RemoteJwks } from "../policy/model.ts";
import { JwksResolver } from "./resolver.ts";
import { JwksStore } from "./store.ts";

const SOURCE: RemoteJwks = { kind: "uri", url: "https://issuer.example/jwks", timeoutMs: 1_000 };
const FIRST = new SigningKey("first").publicKeys();
const SECOND = new SigningKey("second").publicKeys();
const DOWN = new AppError("unavailable", "the issuer is down");

/** An issuer that answers what it is told, and lets tests wait until it was asked so often. */
class Issuer {
  answer: readonly PublicJwk[] | AppError;
  asked = 0;
  #waiting: { readonly count: number; readonly resolve: () => void }[] = [];

  constructor(answer: readonly PublicJwk[] | AppError) {
    this.answer = answer;
  }

  download = async (): Promise<ReadJwks> => {
    this.asked += 1;
    for (const { count, resolve } of this.#waiting) if (this.asked >= count) resolve();
    if (this.answer instanceof AppError) throw this.answer;
    return { keys: this.answer, dropped: [] };
  };

  /** Once this was asked `count` more times, the answers before the last are in force. */
  more(count: number): Promise<void> {
    return new Promise((resolve) => this.#waiting.push({ count: this.asked + count, resolve }));
  }
}

function resolverFor(issuer: Issuer, folder: string, onChange = () => undefined): JwksResolver {
  const store = new JwksStore(folder);
  return new JwksResolver({
    download: issuer.download,
    store,
    clock: systemClock,
    logger: silentLogger,
    onChange,
    refreshMs: 5,
    retryMs: 1,
  });
}

describe("keeping keys", () => {
  it("has none before any were fetched, and none in their place when the issuer never answers", async (test) => {
    const folder = tempFolder(test);
    const issuer = new Issuer(DOWN);
    const resolver = resolverFor(issuer, folder);
    resolver.want([SOURCE]);
    await issuer.more(3);
    assert.deepEqual(resolver.keysOf(SOURCE), []);
    assert.equal(resolver.statuses()[0]?.error, "the issuer is down");
    assert.equal(resolver.statuses()[0]?.fetchedAt, undefined);
    resolver.close();
  });

  it("tells of the first keys, of rotated ones, and of nothing else", async (test) => {
    const folder = tempFolder(test);
    const issuer = new Issuer(FIRST);
    let changes = 0;
    const resolver = resolverFor(issuer, folder, () => {
      changes += 1;
    });
    resolver.want([SOURCE]);
    await issuer.more(3);
    assert.deepEqual([resolver.keysOf(SOURCE), changes], [FIRST, 1]);
    issuer.answer = [...FIRST, ...SECOND];
    await issuer.more(2);
    assert.deepEqual([resolver.keysOf(SOURCE), changes], [[...FIRST, ...SECOND], 2]);
    issuer.answer = SECOND;
    await issuer.more(2);
    assert.deepEqual([resolver.keysOf(SOURCE), changes], [SECOND, 3]);
    resolver.close();
  });

  it("keeps what it has while the issuer is down, and takes new ones after that", async (test) => {
    const folder = tempFolder(test);
    const issuer = new Issuer(FIRST);
    const resolver = resolverFor(issuer, folder);
    resolver.want([SOURCE]);
    await issuer.more(2);
    issuer.answer = DOWN;
    await issuer.more(3);
    assert.deepEqual(resolver.keysOf(SOURCE), FIRST);
    assert.equal(resolver.statuses()[0]?.error, "the issuer is down");
    issuer.answer = SECOND;
    await issuer.more(2);
    assert.deepEqual(resolver.keysOf(SOURCE), SECOND);
    assert.equal(resolver.statuses()[0]?.error, undefined);
    resolver.close();
  });

  it("has the keys of before at once after a restart, with the issuer down", async (test) => {
    const folder = tempFolder(test);
    const issuer = new Issuer(FIRST);
    const before = resolverFor(issuer, folder);
    before.want([SOURCE]);
    await issuer.more(2);
    before.close();
    const after = resolverFor(new Issuer(DOWN), folder);
    after.want([SOURCE]);
    assert.deepEqual(after.keysOf(SOURCE), FIRST);
    after.close();
  });

  it("keeps them where only their owner reads, and believes no file that holds a private key or another source", async (test) => {
    const folder = tempFolder(test);
    const store = new JwksStore(join(folder, "jwks"));
    store.write("uri a", { keys: FIRST, fetchedAt: 1 });
    const [file = ""] = readdirSync(join(folder, "jwks"));
    const path = join(folder, "jwks", file);
    assert.equal(statSync(path).mode & 0o777, 0o600);
    const text = readFileSync(path, "utf8");
    writeFileSync(path, JSON.stringify({ ...JSON.parse(text), keys: [new SigningKey("leaked").jwk({}, true)] }));
    assert.deepEqual(store.read("uri a")?.keys, []);
    writeFileSync(path, text.replace("uri a", "uri b"));
    assert.equal(store.read("uri a"), undefined);
    writeFileSync(path, text.slice(0, 20));
    assert.equal(store.read("uri a"), undefined);
  });

  it("forgets a source that nobody names any more, and what comes for it", async (test) => {
    const folder = tempFolder(test);
    const issuer = new Issuer(FIRST);
    const resolver = resolverFor(issuer, folder);
    resolver.want([SOURCE]);
    await issuer.more(1);
    resolver.want([]);
    assert.deepEqual([resolver.keysOf(SOURCE), resolver.statuses()], [[], []]);
    assert.deepEqual(readdirSync(folder), []);
    resolver.close();
  });

  it("asks once for a source that several rules name", async (test) => {
    const folder = tempFolder(test);
    const issuer = new Issuer(FIRST);
    const resolver = resolverFor(issuer, folder);
    resolver.want([SOURCE, { ...SOURCE, timeoutMs: 7 }]);
    resolver.want([SOURCE]);
    assert.equal(issuer.asked, 1);
    resolver.close();
  });
});
