import { X509Certificate } from "node:crypto";
import { AppError } from "../core/error.ts";
import { SpiffeWorkloadAPI } from "../gen/spiffe/workload/workload_pb.js";
import type { Command } from "./command.ts";
import { EXIT } from "./exit.ts";
import { JSON_OPTION } from "./options.ts";
import { askWorkloadApi, SOCKET_OPTION } from "./workload-api-client.ts";

export const command: Command = {
  name: "svid",
  summary: "Shows the certificate of the workload beside which it runs, by the SPIFFE Workload API.",
  options: { socket: SOCKET_OPTION, json: JSON_OPTION },
  examples: ["garrison run --workload photo-ns/photo-backend -- garrison svid", "garrison svid --socket unix:///run/spiffe/api.sock"],
  run: async (parsed) => {
    const { svids } = await askWorkloadApi(parsed, SpiffeWorkloadAPI.method.fetchX509SVID, {});
    const [svid] = svids;
    if (svid === undefined) throw new AppError("not-found", "the workload has no certificate");
    // Node reads the first of several certificates, which is the leaf.
    const { serialNumber, validFromDate, validToDate } = new X509Certificate(svid.x509Svid);
    const told = {
      identity: svid.spiffeId,
      serial: serialNumber.toLowerCase(),
      notBefore: validFromDate.toISOString(),
      notAfter: validToDate.toISOString(),
    };
    const text = Object.entries(told).map(([name, value]) => `${name.padEnd(10)} ${value}\n`);
    process.stdout.write(parsed.flag("json") ? `${JSON.stringify(told)}\n` : text.join(""));
    return EXIT.ok;
  },
};
