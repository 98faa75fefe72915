import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { formatTable, type Row } from "./row.ts";

const ROW: Row = {
  who: "photo-frontend",
  what: "GET /photos",
  expected: "allow",
  got: "200",
  rule: "photo-ns/backend[0]",
  ok: true,
  milliseconds: 3,
};

describe("formatTable", () => {
  it("aligns the columns and marks what is not as expected", () => {
    assert.equal(
      formatTable([ROW, { ...ROW, who: "datastore", got: "403", rule: "default", ok: false }], false),
      [
        "    who             tries        expected  got  deciding rule",
        "ok  photo-frontend  GET /photos  allow     200  photo-ns/backend[0]",
        "NO  datastore       GET /photos  allow     403  default",
        "",
      ].join("\n"),
    );
  });

  it("paints only where it is asked to", () => {
    assert.ok(formatTable([ROW], true).startsWith("\u001b[2m"));
  });
});
