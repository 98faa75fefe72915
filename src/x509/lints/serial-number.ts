import type { Lint } from "./lint.ts";

/** 64 random bits are what CAs agree on; ours have more. 20 octets are the most. */
export const serialNumber: Lint = {
  name: "serial-number",
  source: "RFC 5280 §4.1.2.2",
  check: ({ serial }) =>
    serial.length < 16 || serial.length > 40 || /^[89a-f]/.test(serial.padStart(40, "0"))
      ? "the serial is not of 8 to 20 octets and positive"
      : undefined,
};
