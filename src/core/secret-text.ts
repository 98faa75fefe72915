/** A text that must not be seen: whatever prints, logs or serializes it shows that there is one, and nothing of it. */

const SHOWN = "(secret)";

export class SecretText {
  readonly #text: string;

  constructor(text: string) {
    this.#text = text;
  }

  /** The text itself: for whoever is entitled to it, and never for a message. */
  reveal(): string {
    return this.#text;
  }

  toString(): string {
    return SHOWN;
  }

  toJSON(): string {
    return SHOWN;
  }

  /** Node's `util.inspect`, and so `console.log` (https://nodejs.org/api/util.html#custom-inspection-functions-on-objects). */
  [Symbol.for("nodejs.util.inspect.custom")](): string {
    return SHOWN;
  }
}
