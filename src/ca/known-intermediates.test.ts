import assert from "node:assert/strict";
import { statSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";
import { FakeCa } from "../../test/fakes/fake-ca.ts";
import { tempFolder } from "../../test/fixture/temp-folder.ts";
import { silentLogger } from "../core/logger.ts";
import { KnownIntermediates } from "./known-intermediates.ts";

const YEARS_11 = 11 * 365 * 86_400_000;

test("former intermediates are known after a restart, until they expire", (t) => {
  const path = join(tempFolder(t), "intermediates.pem");
  const [one, two, three] = [new FakeCa("one").root, new FakeCa("two").root, new FakeCa("three", Date.now() + YEARS_11).root];
  let now = Date.now();
  const open = () => new KnownIntermediates(path, { now: () => now }, silentLogger);
  const serials = (known: KnownIntermediates) => known.all.map(({ serial }) => serial);
  const first = open();
  first.add([one]);
  first.add([two]);
  first.add([one]);
  assert.deepEqual(serials(open()), [one.serial, two.serial]);
  assert.equal(statSync(path).mode & 0o777, 0o600);
  now += YEARS_11;
  const later = open();
  later.add([three]);
  assert.deepEqual(serials(later), [three.serial]);
});

test("a damaged file is refused by name, and one that cannot be written stops nothing", (t) => {
  const folder = tempFolder(t);
  const path = join(folder, "intermediates.pem");
  writeFileSync(path, "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", { mode: 0o600 });
  assert.throws(() => new KnownIntermediates(path, Date, silentLogger), { code: "invalid-configuration", where: path });
  const unwritable = new KnownIntermediates(join(folder, "none", "intermediates.pem"), Date, silentLogger);
  unwritable.add([new FakeCa().root]);
  assert.equal(unwritable.all.length, 1);
});
