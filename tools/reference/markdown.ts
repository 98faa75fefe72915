/** Markdown by program. */

function cell(text: string): string {
  return text.replaceAll("|", "\\|").replaceAll("\n", " ");
}

function row(cells: readonly string[]): string {
  return `| ${cells.map(cell).join(" | ")} |`;
}

/** A table with its header. */
export function table(header: readonly string[], rows: readonly (readonly string[])[]): string {
  return [row(header), `|${" --- |".repeat(header.length)}`, ...rows.map(row)].join("\n");
}

/** In backticks, separated by commas. */
export function codes(texts: readonly string[]): string {
  return texts.map((text) => `\`${text}\``).join(", ");
}
