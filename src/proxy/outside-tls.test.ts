import assert from "node:assert/strict";
import { test } from "node:test";
import { namesIn } from "./outside-tls.ts";

test("the names of a certificate are read from Node's text of them, each as it is", () => {
  assert.deepEqual(namesIn("DNS:a.example.org, DNS:*.example.org, URI:spiffe://a/b, IP Address:127.0.0.1, email:x@example.org"), [
    "a.example.org",
    "*.example.org",
    "spiffe://a/b",
    "127.0.0.1",
    "x@example.org",
  ]);
  assert.deepEqual(namesIn(""), []);
});

test("a name that would read as several is one, and a text that is not understood to its end has none (CVE-2021-44532)", () => {
  assert.deepEqual(namesIn('DNS:"evil.example.org, DNS:partner.example.org", DNS:b'), ["evil.example.org, DNS:partner.example.org", "b"]);
  assert.deepEqual(namesIn('URI:"http://a\\u0000.example.org"'), ["http://a\u0000.example.org"]);
  assert.deepEqual(namesIn("DNS:partner.example.org, othername:<unsupported>"), []);
  assert.deepEqual(namesIn("Registered ID:1.2.3, DNS:partner.example.org"), []);
});
