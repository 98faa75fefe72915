import { AppError } from "../../core/error.ts";
import { svidIdentity } from "../certificate.ts";
import type { Lint } from "./lint.ts";

export const spiffeIdentity: Lint = {
  name: "spiffe-identity",
  source: "SPIFFE X509-SVID §2",
  check: (leaf) => {
    try {
      svidIdentity(leaf);
      return undefined;
    } catch (error) {
      return AppError.from(error).message;
    }
  },
};
