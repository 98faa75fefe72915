/** Kinds of keys under the embedded proxy, by the command line. */
import { after } from "node:test";
import { describeKeyKinds } from "./key-kinds.ts";

describeKeyKinds("the embedded proxy", ["--proxy", "embedded"], { scope: { after } });
