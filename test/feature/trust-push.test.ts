import { after } from "node:test";
import { describeTrustPush } from "./trust-push.ts";

describeTrustPush("the embedded proxy", ["--proxy", "embedded"], { scope: { after } });
