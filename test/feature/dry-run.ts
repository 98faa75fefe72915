/** A dry run by the front door: a policy that is tried, a real call, and what the record says of it. */
import assert from "node:assert/strict";
import { describe, test } from "node:test";
import { until } from "../fakes/processes.ts";
import type { Scope } from "./garrison.ts";
import { OPEN_RULE } from "./mesh.ts";
import { type ProxyFlags, Scene } from "./scene.ts";

interface Told {
  readonly path: string;
  readonly effect: string;
  readonly origin: string;
  readonly dryRun: string;
  readonly dryRunOrigin: string;
  readonly tls: string;
}

const DENY = `apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: tried, namespace: shop, annotations: { istio.io/dry-run: "true" } }
spec: { selector: { matchLabels: { app: server } }, action: DENY, rules: [{ to: [{ operation: { paths: ["/open"] } }] }] }
`;

export function describeDryRun(proxy: string, flags: ProxyFlags, options: { readonly scope: Scope; readonly skip?: string | false }): void {
  describe(`a dry run by ${proxy}`, { skip: options.skip ?? false, timeout: 120_000 }, () => {
    test("a call passes that would be denied, the record says so, and when it is enforced the call is denied", async () => {
      const { scope } = options;
      const scene = new Scene(scope, flags);
      await scene.start();
      const wouldDeny = async (): Promise<readonly Told[]> => {
        const { stdout } = await scene.place.run("audit", "--would-deny", "--json");
        return stdout.split("\n").flatMap((line) => (line === "" ? [] : [JSON.parse(line) as Told]));
      };
      assert.deepEqual(await wouldDeny(), []);
      scene.place.write("tried.yaml", DENY);
      await until("the record tells of the dry run", async () => {
        assert.equal(await scene.ask("/open"), 200);
        return (await wouldDeny()).length > 0;
      });
      const [told] = await wouldDeny();
      assert.partialDeepStrictEqual(told, {
        path: "/open",
        effect: "allow",
        origin: OPEN_RULE,
        dryRun: "deny",
        dryRunOrigin: "shop/tried[0]",
      });
      assert.match(told?.tls ?? "", /^TLSv1\.3 TLS_[A-Z0-9_]+ X25519MLKEM768$/, "the record says what the handshake settled");
      assert.match(
        (await scene.place.run("audit", "--would-deny")).stdout,
        / by shop\/client-reads\[0\] dry-run deny by shop\/tried\[0\]\n/,
      );
      scene.place.write("tried.yaml", DENY.replace('"true"', '"false"'));
      await scene.untilAnswer("/open", 403);
    });
  });
}
