/** Gateways by the command line, with the embedded proxy. */
import { after } from "node:test";
import { describeGateways } from "./gateways.ts";

describeGateways("the embedded proxy", ["--proxy", "embedded"], { scope: { after } });
