import { after } from "node:test";
import { describeForcedRotation, describeRotation } from "./rotation.ts";

const EMBEDDED = ["--proxy", "embedded"];

describeRotation("the embedded proxy", { client: EMBEDDED, server: EMBEDDED }, { scope: { after } });
describeForcedRotation("the embedded proxy", { client: EMBEDDED, server: EMBEDDED }, { scope: { after } });
