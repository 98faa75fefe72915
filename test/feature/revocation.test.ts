/** Revocation under the embedded proxy, by the command line. */
import { after } from "node:test";
import { describeRevocation } from "./revocation.ts";

describeRevocation("the embedded proxy", ["--proxy", "embedded"], { scope: { after } });
