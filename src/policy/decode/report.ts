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

  /** The first problems, at most `LIMITS.diagnostics`. */
  get diagnostics(): readonly Diagnostic[] {
    return this.#diagnostics;
  }

  /** How many errors there are; warnings do not count. */
  get errors(): number {
    return this.#errors;
  }

  /** Nothing more would be told. */
  get full(): boolean {
    return this.#diagnostics.length >= LIMITS.diagnostics;
  }

  add(code: DiagnosticCode, place: Place, message: string, help?: string): void {
    if (DIAGNOSTICS[code].severity === "error") this.#errors++;
    if (!this.full) this.#diagnostics.push({ code, message, place, ...(help === undefined ? {} : { help }) });
  }
}
