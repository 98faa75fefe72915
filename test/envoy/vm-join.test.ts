import { describeVmJoin } from "../feature/vm-join.ts";
import { skipWithoutEnvoy } from "./find-envoy.ts";

describeVmJoin("Envoy", ["--proxy", "envoy"], { skip: skipWithoutEnvoy() });
