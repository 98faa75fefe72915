import assert from "node:assert/strict";
import { test } from "node:test";
import { create, toBinary } from "@bufbuild/protobuf";
import { TypedExtensionConfigSchema } from "../../gen/envoy/config/core/v3/extension_pb.js";
import { RBACSchema } from "../../gen/envoy/extensions/filters/http/rbac/v3/rbac_pb.js";
import { pack } from "./any.ts";
import { filterKeeper, filterResource } from "./filter-config.ts";

const EMPTY = pack(RBACSchema, {});
const AUDIT = pack(RBACSchema, { shadowRulesStatPrefix: "audit_".repeat(50) });

test("a filter is written as the generated code writes it", () => {
  for (const [name, config] of [
    ["shop/cart/http/audit", AUDIT],
    ["ü".repeat(100), EMPTY],
  ] as const) {
    const expected = toBinary(TypedExtensionConfigSchema, create(TypedExtensionConfigSchema, { name, typedConfig: config }));
    assert.deepEqual(Buffer.from(filterResource({ name, config }).body), Buffer.from(expected));
  }
});

test("of a proxy's filters those are written again whose config is another object, and the map is the same where none is", () => {
  const [own, filterResources] = [{}, filterKeeper()];
  const filters = (last: typeof EMPTY) => [
    { name: "a", config: AUDIT },
    { name: "b", config: last },
  ];
  const before = filterResources(filters(EMPTY), own);
  assert.equal(filterResources(filters(EMPTY), own), before);
  const after = filterResources(filters(AUDIT), own);
  assert.equal(after.get("a"), before.get("a"));
  assert.notEqual(after.get("b")?.version, before.get("b")?.version);
  assert.deepEqual([...filterResources(filters(AUDIT).slice(1), own).keys()], ["b"]);
});
