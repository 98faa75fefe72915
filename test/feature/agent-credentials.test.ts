/** What an agent got, under the embedded proxy. */
import { after } from "node:test";
import { describeAgentCredentials } from "./agent-credentials.ts";

describeAgentCredentials("the embedded proxy", ["--proxy", "embedded"], { scope: { after } });
