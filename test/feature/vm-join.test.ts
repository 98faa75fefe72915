import { describeRefusals, describeVmJoin } from "./vm-join.ts";

describeVmJoin("the embedded proxy", ["--proxy", "embedded"]);
describeRefusals();
