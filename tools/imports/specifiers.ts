/** Finds what a TypeScript module imports, without a compiler: a scanner that knows comments, strings, templates and regular expressions. */

/** One `import`, `export … from` or `import(…)`. */
export interface Specifier {
  /** As written; undefined where `import(…)` takes something else than one plain string, which cannot be checked. */
  readonly text: string | undefined;
  /** Counts from 1. */
  readonly line: number;
}

interface Token {
  readonly kind: "word" | "punctuation" | "string";
  /** Of a string, what is between its quotes. */
  readonly text: string;
  readonly line: number;
}

/** After one of these a `/` begins a regular expression; after another word, a number, `)` or `]` it divides. */
const BEFORE_REGEX = new Set([
  "return",
  "typeof",
  "case",
  "in",
  "of",
  "do",
  "else",
  "void",
  "delete",
  "throw",
  "new",
  "instanceof",
  "yield",
  "await",
]);

const SPACE = /\s+/y;
const COMMENT = /\/\/[^\n]*|\/\*[\s\S]*?\*\//y;
const STRING = /"(?:[^"\\\n]|\\[\s\S])*"|'(?:[^'\\\n]|\\[\s\S])*'/y;
const WORD = /[\p{ID_Start}$_#\d][\p{ID_Continue}$\u200c\u200d]*/uy;
const REGEX = /\/(?:[^/\\[\n]|\\.|\[(?:[^\]\\\n]|\\.)*\])+\/[a-z]*/y;
const TEMPLATE_TEXT = /(?:[^`\\$]|\\[\s\S]|\$(?!\{))*/y;

/** A cursor over the text that collects tokens; templates are walked, so that an `import(…)` inside `${…}` is found too. */
class Scanner {
  readonly #source: string;
  readonly #tokens: Token[] = [];
  #at = 0;
  #line = 1;

  constructor(source: string) {
    this.#source = source;
  }

  tokens(): readonly Token[] {
    while (this.#at < this.#source.length) this.#next();
    return this.#tokens;
  }

  /** Reads what `pattern` matches here; undefined when it does not match. */
  #match(pattern: RegExp): string | undefined {
    pattern.lastIndex = this.#at;
    const found = pattern.exec(this.#source)?.[0];
    if (found !== undefined) this.#advance(found.length);
    return found;
  }

  #advance(length: number): void {
    const end = this.#at + length;
    for (; this.#at < end; this.#at++) if (this.#source[this.#at] === "\n") this.#line++;
  }

  #push(kind: Token["kind"], text: string, line = this.#line): void {
    this.#tokens.push({ kind, text, line });
  }

  /** Reads a stretch of space, a comment, a token, or a whole template. */
  #next(): void {
    const line = this.#line;
    if (this.#match(SPACE) !== undefined || this.#match(COMMENT) !== undefined) return;
    const string = this.#match(STRING);
    const regex = string === undefined && this.#regexMayStart() && this.#match(REGEX) !== undefined;
    const word = string === undefined && !regex ? this.#match(WORD) : undefined;
    if (string !== undefined) this.#push("string", string.slice(1, -1), line);
    else if (regex) this.#push("punctuation", "/", line);
    else if (word !== undefined) this.#push("word", word, line);
    else this.#punctuation();
  }

  #punctuation(): void {
    const char = this.#source[this.#at] ?? "";
    this.#push("punctuation", char);
    this.#advance(1);
    if (char === "`") this.#template();
  }

  /** The rest of a template, after its first backtick: its text is dropped, the code in it is scanned. */
  #template(): void {
    this.#match(TEMPLATE_TEXT);
    while (this.#source.startsWith("${", this.#at)) {
      this.#advance(1);
      this.#block();
      this.#match(TEMPLATE_TEXT);
    }
    this.#push("punctuation", "`");
    this.#advance(1);
  }

  /** Code from a `{` to its `}`, both included. */
  #block(): void {
    let depth = 0;
    do {
      const char = this.#source[this.#at];
      const before = this.#tokens.length;
      this.#next();
      const read = this.#tokens[before];
      if (read?.kind !== "punctuation" || read.text !== char) continue;
      if (char === "{") depth++;
      else if (char === "}") depth--;
    } while (depth > 0 && this.#at < this.#source.length);
  }

  #regexMayStart(): boolean {
    if (this.#source[this.#at] !== "/") return false;
    const last = this.#tokens[this.#tokens.length - 1];
    if (last?.kind === "word") return BEFORE_REGEX.has(last.text);
    return last === undefined || (last.kind === "punctuation" && ![")", "]", "}", "`"].includes(last.text));
  }
}

/** Every specifier of a module, in order. `import type` counts: a type is a dependency too. */
export function findSpecifiers(source: string): readonly Specifier[] {
  const tokens = new Scanner(source).tokens();
  const found: Specifier[] = [];
  for (const [index, token] of tokens.entries()) {
    if (token.kind !== "word" || tokens[index - 1]?.text === ".") continue;
    const [next, after, afterThat] = [tokens[index + 1], tokens[index + 2], tokens[index + 3]];
    const { line } = token;
    if (token.text === "from" && next?.kind === "string") found.push({ text: next.text, line });
    if (token.text !== "import") continue;
    if (next?.kind === "string") found.push({ text: next.text, line });
    if (next?.text !== "(") continue;
    const plain = after?.kind === "string" && (afterThat?.text === ")" || afterThat?.text === ",");
    found.push({ text: plain ? after.text : undefined, line });
  }
  return found;
}
