import { test } from "node:test";
import { runDemo } from "../feature/example.ts";
import { skipWithoutEnvoy } from "./find-envoy.ts";

test(
  "`garrison demo --proxy envoy` ends with 0, every row is as expected, and nothing is left running",
  {
    skip: skipWithoutEnvoy(),
    timeout: 120_000,
  },
  (t) => runDemo(t, "envoy"),
);
