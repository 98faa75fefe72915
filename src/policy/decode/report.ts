/** Gathers what is wrong with one object. */
import { DIAGNOSTICS, type Diagnostic, type DiagnosticCode, type Place } from "../../core/diagnostic.ts";
import { LIMITS } from "./limits.ts";

/** Control characters, line separators and the marks that turn writing around: none of them may reach a terminal or a log. */
const UNPRINTABLE = /[\p{Cc}\p{Cf}\p{Zl}\p{Zp}\p{Cs}]/gu;
const MAX_QUOTED = 100;
const UNUSED_HELP =
  "nothing of it concerns identities or policies; what proxies and agents need is in their command lines, and decisions are in the record";

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
  readonly #unused: { readonly place: Place; readonly name: string; readonly help: string }[] = [];

  /** The first problems, at most `LIMITS.diagnostics` of each severity: warnings crowd out no error. */
  get diagnostics(): readonly Diagnostic[] {
    return [...this.#diagnostics, ...this.#unusedFields()];
  }

  /** How many errors there are; warnings do not count. */
  get errors(): number {
    return this.#errors;
  }

  /** No more errors would be told. */
  get full(): boolean {
    return this.#errors >= LIMITS.diagnostics;
  }

  /** A field that means nothing here: all of an object are told together, at the first of them. `name` is quoted already. */
  addUnused(place: Place, name: string, help = UNUSED_HELP): void {
    this.#unused.push({ place, name, help });
  }

  #unusedFields(): readonly Diagnostic[] {
    const byPlace = this.#unused.toSorted(({ place: left }, { place: right }) => left.line - right.line || left.column - right.column);
    return [...Map.groupBy(byPlace, ({ help }) => help)].flatMap(([help, unused]) => {
      const [first, ...others] = unused;
      if (first === undefined) return [];
      const names = unused.slice(0, LIMITS.diagnostics).map(({ name }) => name);
      const rest = unused.length - names.length;
      const all = `${names.join(", ")}${rest > 0 ? ` and ${rest} more` : ""}`;
      const message = `${all} ${others.length === 0 ? "is" : "are"} not used by Garrison`;
      return [{ code: "GAR0014", message, place: first.place, help }];
    });
  }

  add(code: DiagnosticCode, place: Place, message: string, help?: string): void {
    const told = DIAGNOSTICS[code].severity === "error" ? this.#errors++ : this.#warnings++;
    if (told < LIMITS.diagnostics) this.#diagnostics.push({ code, message, place, ...(help === undefined ? {} : { help }) });
  }
}
