/** A reporter of `node --test` that tells tools/test.ts, one JSON object a line, what it counts by: files that ended, and sums. */

/** The events that are read, of those that `node:test` emits (https://nodejs.org/api/test.html#class-testsstream). */
interface TestEvent {
  readonly type: string;
  readonly data: { readonly file?: string; readonly counts?: Readonly<Record<string, number>> };
}

/** A file's tests all ended, a test of a file failed, or (without a file) the whole run's sums. */
export interface ReportedEvent {
  readonly type: "summary" | "fail";
  readonly file?: string;
  readonly counts?: Readonly<Record<string, number>>;
}

async function* report(events: AsyncIterable<TestEvent>): AsyncGenerator<string> {
  for await (const { type, data } of events) {
    if (type !== "test:summary" && type !== "test:fail") continue;
    const { file, counts } = data;
    yield `${JSON.stringify({ type: type === "test:fail" ? "fail" : "summary", file, counts })}\n`;
  }
}

// biome-ignore lint/style/noDefaultExport: `--test-reporter` takes a module's default export
export default report;
