/** Gathers what is wrong with one object. */
import { DIAGNOSTICS, type Diagnostic, type DiagnosticCode, type Place } from "../../core/diagnostic.ts";
import { LIMITS } from "./limits.ts";

/** Control characters, line separators and the marks that turn writing around: none of them may reach a terminal or a log. */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;
const MAX_QUOTED = 100;

/** Text that is safe on one line: what cannot be seen is written as `\u{…}`. */
export function printable(text: string): string {
  return text.replace(UNPRINTABLE, (character) => `\\u{${character.codePointAt(0)?.toString(16)}}`);
}

/** A user's input for a message: in backticks, bounded, printable. */
export function quote(text: string): string {
  return `\`${printable(text.length > MAX_QUOTED ? `${text.slice(0, MAX_QUOTED)}…` : text)}\``;
}

export class Report {
  readonly #diagnostics: Diagnostic[] = [];
  #errors = 0;
  #warnings = 0;

  /** The first problems, at most `LIMITS.diagnostics` of each severity: warnings crowd out no error. */
  get diagnostics(): readonly Diagnostic[] {
    return this.#diagnostics;
  }

  /** How many errors there are; warnings do not count. */
  get errors(): number {
    return this.#errors;
  }

  /** No more errors would be told. */
  get full(): boolean {
    return this.#errors >= LIMITS.diagnostics;
  }

  add(code: DiagnosticCode, place: Place, message: string, help?: string): void {
    const told = DIAGNOSTICS[code].severity === "error" ? this.#errors++ : this.#warnings++;
    if (told < LIMITS.diagnostics) this.#diagnostics.push({ code, message, place, ...(help === undefined ? {} : { help }) });
  }
}
