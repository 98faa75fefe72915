import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { AppError } from "../../core/error.ts";
import { describeKey, parsePkcs11Uri } from "./uri.ts";

const QUERY = "?module-path=/usr/lib/softhsm/libsofthsm2.so&pin-source=file:/etc/pin";

describe("parsePkcs11Uri()", () => {
  test("reads the token, the key, the library and the file of the PIN", () => {
    assert.deepEqual(parsePkcs11Uri(`pkcs11:token=My%20token;serial=12;object=ca-key;id=%01%ff%61b;type=private${QUERY}`), {
      module: "/usr/lib/softhsm/libsofthsm2.so",
      pinFile: "/etc/pin",
      token: { label: "My token", serial: "12", manufacturer: undefined, model: undefined },
      label: "ca-key",
      id: "01ff6162",
    });
  });

  test("takes `pin-source` as a path, and as a `file:` URI with and without an authority", () => {
    for (const source of ["/etc/pin", "file:/etc/pin", "file:///etc/pin", "%2Fetc%2Fpin"]) {
      assert.equal(parsePkcs11Uri(`pkcs11:token=a;object=b?module-path=/m.so&pin-source=${source}`).pinFile, "/etc/pin");
    }
  });

  test("names the key for people by its label, or by its id", () => {
    assert.equal(describeKey(parsePkcs11Uri(`pkcs11:token=a;object=b${QUERY}`)), "key b of the token a");
    assert.equal(describeKey(parsePkcs11Uri(`pkcs11:serial=77;id=%0a${QUERY}`)), "key id 0a of the token 77");
  });

  for (const [uri, message] of [
    ["", /no PKCS #11 URI/],
    ["PKCS11:token=a", /no PKCS #11 URI/],
    [`pkcs11:token=${"a".repeat(2048)}`, /no PKCS #11 URI/],
    ["pkcs11:token=a;object=b", /lacks `module-path`/],
    ["pkcs11:token=a;object=b?module-path=/m.so", /lacks `pin-source`/],
    ["pkcs11:token=a;object=b?module-path=m.so&pin-source=/p", /`module-path` .* is not an absolute path/],
    ["pkcs11:token=a;object=b?module-path=/m.so&pin-source=|/bin/cat", /`pin-source` .* is not an absolute path/],
    ["pkcs11:token=a;object=b?module-path=/m.so%00&pin-source=/p", /not an absolute path/],
    [`pkcs11:token=a${QUERY}`, /names no key/],
    [`pkcs11:object=a${QUERY}`, /names no token/],
    [`pkcs11:token=a;token=b;object=c${QUERY}`, /`token` twice/],
    [`pkcs11:token=a;object=b;slot-id=1${QUERY}`, /has `slot-id`, which is not one of/],
    [`pkcs11:token=a;object=b;type=cert${QUERY}`, /of type `private`, not `cert`/],
    [`pkcs11:token=a;object=%zz${QUERY}`, /a `%` that is not followed/],
    [`pkcs11:token=a;object=b${QUERY}?x`, /more than one `\?`/],
  ] as const) {
    test(`refuses \`${uri.slice(0, 60)}\``, () => {
      assert.throws(() => parsePkcs11Uri(uri), { name: "AppError", code: "invalid-argument", message });
    });
  }

  test("refuses a PIN on the command line, and does not repeat it", () => {
    assert.throws(
      () => parsePkcs11Uri("pkcs11:token=a;object=b?module-path=/m.so&pin-value=4711"),
      (error) => {
        assert.ok(error instanceof AppError);
        assert.match(error.message, /name a file by `pin-source`/);
        assert.doesNotMatch(`${error.message}${error.help}`, /4711/);
        return true;
      },
    );
  });
});
