import assert from "node:assert/strict";
import { test } from "node:test";
import { normalizePath } from "./normalize-path.ts";

/** Each pair was seen in Envoy 1.40; `test/envoy/normalize-path.test.ts` compares many more with the one at hand. */
const NORMALIZED: readonly (readonly [string, string])[] = [
  ["/", "/"],
  ["/a/b", "/a/b"],
  ["/a/./b", "/a/b"],
  ["/a/../b", "/b"],
  ["/../../b", "/b"],
  ["/a/..", "/"],
  ["/a/.", "/a/"],
  ["/a/...", "/a/..."],
  ["/.a/..b", "/.a/..b"],
  ["/a/%2e/b", "/a/b"],
  ["/a/%2E%2e/b", "/b"],
  ["/a/%2e%2e%2fb", "/a/..%2fb"],
  ["/%252e%252e/a", "/%252e%252e/a"],
  ["/a//b", "/a//b"],
  ["/a//../b", "/a/b"],
  ["/a\\b", "/a/b"],
  ["/a\\..\\b", "/b"],
  ["/a%5Cb", "/a%5Cb"],
  ["/a%2fb", "/a%2fb"],
  ["/%41%7e%2d", "/A~-"],
  ["/%c3%A9", "/%c3%A9"],
  ["/%4%41", "/%254A"],
  ["/%zz", "/%zz"],
  ['/a"<b>^`{|}', "/a%22%3Cb%3E%5E%60%7B%7C%7D"],
];

for (const [raw, expected] of NORMALIZED) {
  test(`\`${raw}\` is normalized to \`${expected}\``, () => {
    assert.deepEqual(normalizePath(raw), { path: expected, query: "" });
  });
}

test("a dot segment with path parameters walks up, as it would in a server that drops them (CVE-2026-73551)", () => {
  assert.equal(normalizePath("/public/..;x=1/admin")?.path, "/admin");
  assert.equal(normalizePath("/public/.;/x")?.path, "/public/x");
  assert.equal(normalizePath("/a;x=1/b")?.path, "/a;x=1/b");
});

test("the query is kept as it came and is no part of the path", () => {
  assert.deepEqual(normalizePath("/a/../b?c/../d#e"), { path: "/b", query: "?c/../d" });
  assert.deepEqual(normalizePath("/a?"), { path: "/a", query: "?" });
});

test("the fragment is dropped before anything is matched (CVE-2021-39156)", () => {
  assert.deepEqual(normalizePath("/admin#/public"), { path: "/admin", query: "" });
  assert.deepEqual(normalizePath("/a#b?c"), { path: "/a", query: "" });
});

for (const raw of ["", "*", "a", "?x", "#", "\\a", "/a b", "/a\tb", "/\x01", "/\x7f", "/é", "/%00", "/a%00b", "http://h/a"]) {
  test(`${JSON.stringify(raw)} is refused`, () => {
    assert.equal(normalizePath(raw), undefined);
  });
}

test("an escaped zero byte is refused in the path only", () => {
  assert.deepEqual(normalizePath("/a?b=%00"), { path: "/a", query: "?b=%00" });
});

test("the longest path costs as much for each of its characters as a short one", () => {
  const unit = "%2%46";
  const best = (repeated: number, times: number) => {
    const path = `/${unit.repeat(repeated)}`;
    const rounds = Array.from({ length: 5 }, () => {
      const start = performance.now();
      for (let time = 0; time < times; time++) normalizePath(path);
      return performance.now() - start;
    });
    return Math.min(...rounds);
  };
  best(60, 200);
  const [short, long] = [best(60, 200), best(12_000, 1)];
  // What copies the beginning of a path for each of its characters takes more than six times as long.
  assert.ok(long < 4 * short, `${long} ms, and ${short} ms for as many characters in short paths`);
});
