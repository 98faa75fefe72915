/** The SPIFFE Workload API of `garrison run`, by the front door. */
import assert from "node:assert/strict";
import { mkdirSync, readdirSync, statSync } from "node:fs";
import { join } from "node:path";
import { describe, test } from "node:test";
import { callAdmin } from "../../src/cli/admin-client.ts";
import { WorkloadApiTestClient } from "../fakes/workload-api-client.ts";
import { garrison } from "./garrison.ts";
import { CLIENT, meshFiles, UNUSED_PORTS } from "./mesh.ts";
import { Place } from "./place.ts";

const IDENTITY = "spiffe://cluster.local/ns/shop/sa/client";
const RUN = ["run", "--workload", CLIENT, "--proxy", "none"];
const TELL = 'echo "at work $SPIFFE_ENDPOINT_SOCKET"; exec sleep 1000';

describe("the Workload API of garrison run", { timeout: 120_000 }, () => {
  test("is where SPIFFE_ENDPOINT_SOCKET says, gives certificate and token of the workload, and ends with the agent", async (t) => {
    const place = new Place(t, meshFiles(UNUSED_PORTS));
    await place.serve();
    const agent = place.start(RUN, ["sh", "-c", TELL]);
    const line = await agent.line(/^at work unix:\/\//);
    const socket = line.replace("at work unix://", "");
    assert.equal(socket, join(place.state, "run", "shop.client", "workload.sock"));
    assert.equal(statSync(socket).mode & 0o777, 0o600);
    const client = new WorkloadApiTestClient(socket);
    t.after(() => client.close());

    const stream = client.x509Svids();
    assert.equal((await stream.next()).svids[0]?.spiffeId, IDENTITY);
    const token = await client.jwtSvid(["vault"]);
    const { spiffeId, claims } = await client.validate("vault", token);
    assert.deepEqual([spiffeId, claims?.aud], [IDENTITY, ["vault"]]);

    const agentSocket = join(place.state, "run", "shop.client", "agent.sock");
    const { serial } = (await callAdmin(agentSocket, "POST", "/renew")) as { readonly serial: string };
    assert.equal(
      Buffer.from((await stream.next()).svids[0]?.x509Svid ?? "")
        .toString("hex")
        .includes(serial),
      true,
    );
    const { controlPlane } = { controlPlane: place.controlPlane() };
    const issued = (await callAdmin(controlPlane.adminSocket, "GET", "/v1/jwt-svids")) as readonly {
      identity: string;
      audiences: unknown;
    }[];
    assert.deepEqual(
      issued.map(({ identity, audiences }) => [identity, audiences]),
      [[IDENTITY, ["vault"]]],
    );
    const listed = (await place.run("ca", "list", "--kind", "jwt-svid")).stdout;
    assert.match(listed, new RegExp(`^\\S+ issued +JWT-SVID \\S+ ${IDENTITY} by client certificate, for vault, until \\S+\n$`));
    assert.match((await place.run("ca", "list")).stdout, /JWT-SVID/);
    assert.equal((await place.run("ca", "list", "--kind", "certificate")).stdout.includes("JWT-SVID"), false);

    assert.equal(await agent.stop(), 143);
    assert.equal(readdirSync(join(place.state, "run", "shop.client")).includes("workload.sock"), false);
  });

  test("is served where it is wanted, by the option or by the environment, unless somebody serves there", async (t) => {
    const place = new Place(t, meshFiles(UNUSED_PORTS));
    await place.serve();
    const folder = join(place.folder, "spiffe");
    mkdirSync(folder, { mode: 0o755 });
    const named = join(folder, "api.sock");
    const gid = String(process.getegid?.() ?? 0);
    const first = place.start([...RUN, "--workload-api-group", gid], ["sh", "-c", TELL], {
      env: { SPIFFE_ENDPOINT_SOCKET: `unix://${named}` },
    });
    await first.line(new RegExp(`^at work unix://${named}$`));
    assert.equal(statSync(named).mode & 0o777, 0o660);

    const inside = ["run", "--workload", "shop/server", "--proxy", "none"];
    const second = place.start(inside, ["sh", "-c", TELL], { env: { SPIFFE_ENDPOINT_SOCKET: `unix://${named}` } });
    await second.line(/^at work unix:\/\/\S+\/run\/shop\.server\/workload\.sock$/);
    // Else its workload would be served already.
    await second.stop();
    const third = place.start([...inside, "--workload-api", `unix://${named}`]);
    assert.equal(await third.ended, 4);
    assert.ok(third.output.includes(`another process serves \`${named}\``), third.output);
    const tcp = await place.run(...inside, "--workload-api", "tcp://127.0.0.1:8000");
    assert.deepEqual([tcp.exit, /is not a Unix socket/.test(tcp.stderr)], [2, true]);
    const nowhere = join(place.folder, "absent", "api.sock");
    const unserved = await garrison(["svid", "--socket", `unix://${nowhere}`]);
    assert.equal(unserved.exit, 4);
    assert.ok(unserved.stderr.startsWith(`garrison: ${nowhere}: nobody serves the Workload API here: connect ENOENT `), unserved.stderr);
  });
});
