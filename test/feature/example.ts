/** The photo example has ports of its own, fixed in its YAML: whoever runs it waits until nobody else does. */
import assert from "node:assert/strict";
import { rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestContext } from "node:test";
import { isAlive, until } from "../fakes/processes.ts";
import { GarrisonProcess } from "./garrison.ts";
import { isListening } from "./scene.ts";

const PORTS = [17121, 17122, 17143, 17221, 17222, 17223, 17224, 17243, 17321, 17322, 17343, 17344, 17443, 17521, 17522, 17523];
const LOCK = join(tmpdir(), "garrison-example.lock");
const PATIENCE_MS = 60_000;
