import assert from "node:assert/strict";
import { describe, it } from "node:test";
import { createLogger, formatLogLine } from "./log.ts";

describe("formatLogLine", () => {
  it("is one line of time, level, message and fields", () => {
    assert.equal(
      formatLogLine(0, "info", "proxy connected", { workload: "shop/cart", count: 2, absent: undefined }),
      "1970-01-01T00:00:00.000Z info  proxy connected workload=shop/cart count=2\n",
    );
  });

  it("neutralizes line breaks, escapes and quotes from outside", () => {
    const line = formatLogLine(0, "warn", "bad\nnews\u001b[31m", { path: '/x"\n2026 error forged', empty: "" });
    assert.equal(line, `1970-01-01T00:00:00.000Z warn  bad news [31m path="/x\\"\\n2026 error forged" empty=""\n`);
  });
});

describe("createLogger", () => {
  it("leaves out what is below its level", () => {
    const lines: string[] = [];
    const logger = createLogger("warn", (line) => lines.push(line));
    logger.log("info", "quiet");
    logger.log("error", "loud");
    assert.equal(lines.length, 1);
    assert.match(lines[0] ?? "", / error loud\n$/);
  });
});
