/** Faults under the embedded proxy, by the command line. */
import { after } from "node:test";
import { describeFaults } from "./faults.ts";

describeFaults("the embedded proxy", ["--proxy", "embedded"], { scope: { after } });
