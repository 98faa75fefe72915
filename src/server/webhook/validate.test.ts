import assert from "node:assert/strict";
import { test } from "node:test";
import type { AdmissionRequest } from "./admission-review.ts";
import { validate } from "./validate.ts";

function request(spec: unknown, more: Partial<AdmissionRequest> = {}): AdmissionRequest {
  const [group, version, kind] = ["security.istio.io", "v1", "AuthorizationPolicy"];
  const object = { apiVersion: `${group}/${version}`, kind, metadata: { name: "readers", namespace: "shop", managedFields: [{}] }, spec };
  return { uid: "1", kind: { group, version, kind }, namespace: "shop", operation: "CREATE", object, ...more };
}

const RULES = [{ to: [{ operation: { paths: ["/a"] } }] }];

test("an object that decodes is allowed", () => {
  assert.deepEqual(validate(request({ rules: RULES })), { allowed: true, warnings: [] });
});

test("a mistake is refused with its code, its field and what to do", () => {
  const verdict = validate(request({ rules: [{ to: [{ operation: { pathz: ["/a"] } }] }] }));
  assert.deepEqual(verdict, {
    allowed: false,
    message: "GAR0003: unknown field `spec.rules[0].to[0].operation.pathz` (did you mean `paths`?)",
    causes: [{ reason: "GAR0003", message: "unknown field `spec.rules[0].to[0].operation.pathz`" }],
    warnings: [],
  });
});

test("all mistakes are told, and warnings beside them", () => {
  const verdict = validate(request({ action: "MAYBE", selector: {}, rules: [{ too: [] }] }));
  assert.deepEqual(verdict.allowed ? [] : verdict.causes.map(({ reason }) => reason).sort(), ["GAR0003", "GAR0007"]);
});

test("what is not an error is a warning, and allowed", () => {
  const verdict = validate(request({ selector: { matchLabels: {} }, rules: RULES }));
  assert.equal(verdict.allowed, true);
  assert.match(verdict.warnings?.join() ?? "", /^GAR0011: /);
});

test("what is deleted is not looked at, and a name that is yet to be made is no mistake", () => {
  assert.deepEqual(validate(request({}, { operation: "DELETE", object: undefined })), { allowed: true });
  const object = { ...request({ rules: RULES }).object, metadata: { generateName: "readers-" } };
  assert.equal(validate(request({}, { object })).allowed, true);
});

test("whoever writes a policy in another cluster is told that it has no effect there, and still of mistakes", () => {
  const told =
    "this AuthorizationPolicy has no effect: policies are not read in cluster `west`, write it in the control plane's own cluster";
  assert.deepEqual(validate(request({ rules: RULES }, { cluster: "west" })), { allowed: true, warnings: [told] });
  assert.equal(validate(request({ rulez: [] }, { cluster: "west" })).allowed, false);
});
