import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { type Command, parseCommandLine } from "./command.ts";
import { command } from "./serve.ts";
import { clusterPlace } from "./serve-cluster.ts";

const IMAGE = ["--inject-image", "registry.example/garrison:1", "--webhooks", "0.0.0.0:15017"];
const PULL = ["--inject-pull-secret", "registry"];

/** What the command line says of the cluster. */
function place(argv: readonly string[], kind: "kubernetes" | "folder" = "kubernetes") {
  const parsed = parseCommandLine(command as Command, argv);
  return clusterPlace(parsed, kind === "kubernetes" ? { kind, file: undefined } : { kind, folder: "mesh" });
}

test("what injected pods pull their image with goes with the image", () => {
  assert.deepEqual(place([...IMAGE, ...PULL]).injection?.pullSecrets, ["registry"]);
  assert.equal(place([]).injection, undefined);
});

describe("an option that would have no effect is refused, with what it needs", () => {
  const REFUSED: readonly (readonly [argv: readonly string[], kind: "kubernetes" | "folder", message: RegExp])[] = [
    [PULL, "kubernetes", /^`--inject-pull-secret` is for the image that pods are injected with$/],
    [PULL, "folder", /^`--inject-pull-secret` is for a control plane on Kubernetes$/],
    [IMAGE.slice(0, 2), "folder", /^`--inject-image` is for a control plane on Kubernetes$/],
    [IMAGE.slice(0, 2), "kubernetes", /^`--inject-image` is for the webhook that injects$/],
    [["--ca-secret", "a/b", "--ca-folder", "c"], "kubernetes", /^`--ca-secret` and `--ca-folder` both name a CA$/],
  ];
  for (const [argv, kind, message] of REFUSED)
    test(`${argv.join(" ")} with ${kind === "folder" ? "a folder" : "a cluster"}`, () => {
      assert.throws(() => place(argv, kind), { code: "invalid-argument", message });
    });
});

test("an object is named by its namespace and its name, and by nothing more", () => {
  assert.deepEqual(place(["--service", "mesh/garrison-1"]).service, { namespace: "mesh", name: "garrison-1" });
  for (const text of ["garrison", "mesh/", "/garrison", "mesh/garrison/1", "Mesh/garrison", `mesh/${"a".repeat(64)}`, "mesh/-a"])
    assert.throws(() => place(["--service", text]), {
      code: "invalid-argument",
      message: /`--service` is not of the form `NAMESPACE\/NAME`/,
    });
});
