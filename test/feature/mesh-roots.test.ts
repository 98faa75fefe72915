import { after } from "node:test";
import { describeMeshRoots } from "./mesh-roots.ts";

describeMeshRoots("the embedded proxy", ["--proxy", "embedded"], { scope: { after } });
