import assert from "node:assert/strict";
import { test } from "node:test";
import { AppError } from "../core/error.ts";
import { renderTemplate } from "./template.ts";

const DATA = { Values: { name: "a", none: [], list: ["<x>"], on: true, zero: 0, items: [{ at: "1" }, { at: "2" }], deep: { b: 1, a: 2 } } };

function render(text: string): string {
  return renderTemplate(text, DATA, "t.yaml");
}

test("values stand where their path is, as text or as JSON with its keys in order", () => {
  assert.equal(render("{{ .Values.name }}/{{ .Values.deep | toJson }}"), 'a/{"a":2,"b":1}');
  assert.equal(render("{{ .Values.deep | toPrettyJson | toJson }}"), '"{\\n  \\"a\\": 2,\\n  \\"b\\": 1\\n}"');
});

test("JSON is escaped as Go escapes it", () => {
  assert.equal(render("{{ .Values.list | toJson }}"), '["\\u003cx\\u003e"]');
});

test("an empty object, zero and what is off are no condition, and what is within is not looked at", () => {
  assert.equal(render("{{ if .Values.none }}{{ .Values.missing }}{{ else }}no{{ end }}"), "no");
  assert.equal(render("{{ if .Values.zero }}yes{{ end }}{{ if .Values.on }}on{{ else }}off{{ end }}"), "on");
  assert.equal(render("{{ if .Values.none }}{{ if .Values.on }}a{{ else }}b{{ end }}{{ else }}c{{ end }}"), "c");
});

test("a range says its text for each item, where a path begins at the item, or by a dollar at the beginning", () => {
  assert.equal(render("{{ range .Values.list }}{{ . | toJson }} {{ $.Values.name }};{{ end }}"), '"\\u003cx\\u003e" a;');
  assert.equal(
    render("{{ range .Values.items }}{{ .at }}{{ if $.Values.on }},{{ end }}{{ end }}{{ range .Values.none }}no{{ end }}"),
    "1,2,",
  );
});

test("a minus takes the blanks on its side", () => {
  assert.equal(render("a\n{{- if .Values.on }}\nb\n{{- end }}\nc"), "a\nb\nc");
  assert.equal(render("a {{ .Values.name -}} \n b{{/* nothing */}}"), "a ab");
});

for (const [text, told] of [
  ["x\n{{ with .Values.list }}", /t\.yaml:2.*`with \.Values\.list` is not understood/],
  ["x\n{{ range .Values.list }}", /t\.yaml:2.*a `range` has no `end`/],
  ["{{ range .Values.deep }}{{ end }}", /`\.Values\.deep` is no list/],
  ["{{ range .Values.list }}{{ .Values.name }}{{ end }}", /no value `\.Values\.name`/],
  ["{{ range .Values.list }}{{ else }}{{ end }}", /`else` without an `if`/],
  ["{{ . }}", /`\.` is no text/],
  ["{{ .Values.name | quote }}", /no function `quote`/],
  ["{{ .Values.nobody }}", /no value `\.Values\.nobody`/],
  ["{{ .Values.deep }}", /`\.Values\.deep` is no text/],
  ["{{ if .Values.on }}", /`if` has no `end`/],
  ["{{ end }}", /`end` without an `if`/],
  ["{{ if .Values.on }}{{ else }}{{ else }}{{ end }}", /`else` without an `if`/],
] as const) {
  test(`refuses ${JSON.stringify(text)} with its place`, () => {
    assert.throws(
      () => render(text),
      (error) => error instanceof AppError && error.code === "invalid-configuration" && told.test(`${error.where}: ${error.message}`),
    );
  });
}
