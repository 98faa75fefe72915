import { after } from "node:test";
import { describeMeshRoots } from "../feature/mesh-roots.ts";
import { skipWithoutEnvoy } from "./find-envoy.ts";

describeMeshRoots("Envoy", ["--proxy", "envoy"], { skip: skipWithoutEnvoy(), scope: { after } });
