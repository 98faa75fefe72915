import { test } from "node:test";
import { runDemo } from "./example.ts";

test("`garrison demo --proxy embedded` ends with 0, every row is as expected, and nothing is left running", { timeout: 120_000 }, (t) =>
  runDemo(t, "embedded"),
);
