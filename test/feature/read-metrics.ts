/** The metrics of a control plane that was started with `--metrics-listen`, read as Prometheus reads them. */
import assert from "node:assert/strict";
import { until } from "../fakes/processes.ts";
import type { GarrisonProcess } from "./garrison.ts";

export class MetricsReader {
  readonly url: string;

  constructor(url: string) {
    this.url = url;
  }

  /** Of a process that says where. */
  static async of(serve: GarrisonProcess): Promise<MetricsReader> {
    return new MetricsReader(/url=(\S+)/.exec(await serve.line(/ metrics are served /))?.[1] ?? "");
  }

  /** Once it is this asker's turn. */
  async text(): Promise<string> {
    let answer = await fetch(this.url);
    await until("there is a turn", async () => {
      if (answer.status === 429) answer = await fetch(this.url);
      return answer.status !== 429;
    });
    assert.equal(answer.status, 200);
    assert.equal(answer.headers.get("content-type"), "text/plain; version=0.0.4; charset=utf-8");
    return answer.text();
  }

  /** The value of a metric with these labels; NaN where there is none. */
  async value(series: string): Promise<number> {
    const line = (await this.text()).split("\n").find((each) => each.startsWith(`${series} `));
    return line === undefined ? Number.NaN : Number(line.slice(series.length));
  }

  /** Names and labels of all. */
  async series(): Promise<readonly string[]> {
    const lines = (await this.text()).split("\n");
    return lines.filter((line) => line !== "" && !line.startsWith("#")).map((line) => line.replace(/ \S+$/, ""));
  }
}
