/** Conditions that Envoy's matchers have no words for, as CEL syntax trees (`google.api.expr.v1alpha1`), built and never parsed. */
import { create, type MessageInitShape } from "@bufbuild/protobuf";
import { type Expr, ExprSchema } from "../../gen/google/api/expr/v1alpha1/syntax_pb.js";

/** Every node of a tree has a number of its own. */
class Builder {
  #next = 1n;

  expr(kind: MessageInitShape<typeof ExprSchema>["exprKind"]): Expr {
    return create(ExprSchema, { id: this.#next++, ...(kind === undefined ? {} : { exprKind: kind }) });
  }

  text(value: string): Expr {
    return this.expr({ case: "constExpr", value: { constantKind: { case: "stringValue", value } } });
  }
}

/** `connection.sha256_peer_certificate_digest in [DIGESTS]`: lower-case hex of the SHA-256 of the peer's DER. */
export function certificateIsOneOf(digests: readonly string[]): Expr {
  const builder = new Builder();
  const operand = builder.expr({ case: "identExpr", value: { name: "connection" } });
  const digest = builder.expr({ case: "selectExpr", value: { operand, field: "sha256_peer_certificate_digest" } });
  const list = builder.expr({ case: "listExpr", value: { elements: digests.map((each) => builder.text(each)) } });
  return builder.expr({ case: "callExpr", value: { function: "@in", args: [digest, list] } });
}
