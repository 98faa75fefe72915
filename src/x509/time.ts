/** Moments in certificates, in milliseconds on whole seconds (RFC 5280 §4.1.2.5). */
import { type DerReader, TAG } from "./der-reader.ts";
import { element } from "./der-writer.ts";

const ZERO = 0x30;
const Z = 0x5a;
/** Two-digit years are of the years 1950 to 2049 (RFC 5280 §4.1.2.5.1). */
const FIRST_SHORT_YEAR = 1950;
const FIRST_GENERALIZED_YEAR = 2050;

function pair(value: number): readonly [number, number] {
  return [ZERO + Math.floor(value / 10), ZERO + (value % 10)];
}

/** A moment, cut to seconds: UTCTime through 2049, GeneralizedTime after. */
export function time(milliseconds: number): Uint8Array {
  const date = new Date(milliseconds);
  const year = date.getUTCFullYear();
  const short = year < FIRST_GENERALIZED_YEAR;
  const rest = [year % 100, date.getUTCMonth() + 1, date.getUTCDate(), date.getUTCHours(), date.getUTCMinutes(), date.getUTCSeconds()];
  const digits = [...(short ? [] : pair(Math.floor(year / 100))), ...rest.flatMap(pair), Z];
  return element(short ? TAG.utcTime : TAG.generalizedTime, Uint8Array.from(digits));
}

/** The two digits at `at`; NaN when they are none. */
function twoDigits(text: Uint8Array, at: number): number {
  const tens = (text[at] ?? 0) - ZERO;
  const ones = (text[at + 1] ?? 0) - ZERO;
  return tens >= 0 && tens <= 9 && ones >= 0 && ones <= 9 ? tens * 10 + ones : Number.NaN;
}

function readYear(text: Uint8Array, short: boolean): number {
  if (!short) return twoDigits(text, 0) * 100 + twoDigits(text, 2);
  const year = twoDigits(text, 0);
  return year + (year < FIRST_SHORT_YEAR % 100 ? 2000 : 1900);
}

/** The next element as a moment: `YYMMDDhhmmssZ` or `YYYYMMDDhhmmssZ`, nothing else. Throws `invalid-argument`. */
export function readTime(reader: DerReader): number {
  const short = reader.peek() === TAG.utcTime;
  const text = reader.content(short ? TAG.utcTime : TAG.generalizedTime);
  const start = short ? 2 : 4;
  if (text.length !== start + 11 || text[start + 10] !== Z) throw reader.fail("has a time that is not written as RFC 5280 asks");
  const month = twoDigits(text, start);
  const day = twoDigits(text, start + 2);
  const hour = twoDigits(text, start + 4);
  const minute = twoDigits(text, start + 6);
  const second = twoDigits(text, start + 8);
  const year = readYear(text, short);
  const value = Date.UTC(year, month - 1, day, hour, minute, second);
  const date = new Date(value);
  const exists =
    date.getUTCFullYear() === year &&
    date.getUTCMonth() === month - 1 &&
    date.getUTCDate() === day &&
    hour < 24 &&
    minute < 60 &&
    second < 60;
  if (!exists) throw reader.fail("has a time that does not exist");
  return value;
}
