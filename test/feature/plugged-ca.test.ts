import { after } from "node:test";
import { CA_KINDS } from "../fixture/openssl-ca.ts";
import { describePluggedCa } from "./plugged-ca.ts";

for (const kind of CA_KINDS) describePluggedCa("the embedded proxy", ["--proxy", "embedded"], kind, { scope: { after } });
