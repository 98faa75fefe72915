import { after } from "node:test";
import { describeFederation } from "./federation.ts";

describeFederation("the embedded proxy", ["--proxy", "embedded"], { scope: { after } });
