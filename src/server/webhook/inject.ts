/** The mutating webhook: pods get their agent and proxy as they are made. */
import type { InjectOptions } from "../../capture/inject/containers.ts";
import { injectPod } from "../../capture/inject/inject.ts";
import { AppError } from "../../core/error.ts";
import type { AdmissionHandler, AdmissionRequest } from "./admission-review.ts";

/**
 * Which pods are asked about, the webhook's configuration says. One whose annotations cannot be honoured, or that could never have a certificate, is
 * not made. `options` throws for those.
 */
export function inject(options: (request: AdmissionRequest) => InjectOptions): AdmissionHandler {
  return (request) => {
    const { kind, operation, object } = request;
    if (object === undefined || kind.kind !== "Pod" || operation !== "CREATE") return { allowed: true };
    try {
      const injection = injectPod(object, options(request));
      if (injection.kind === "skipped") return { allowed: true, warnings: [`the pod is not injected: ${injection.reason}`] };
      const { metadata, spec } = injection.pod;
      return {
        allowed: true,
        ...(injection.notes.length === 0 ? {} : { warnings: injection.notes }),
        patch: [
          { op: "replace", path: "/metadata", value: metadata },
          { op: "replace", path: "/spec", value: spec },
        ],
      };
    } catch (thrown) {
      const { code, message, help } = AppError.from(thrown);
      const text = help === undefined ? message : `${message} (${help})`;
      return { allowed: false, message: text, causes: [{ reason: code, message }] };
    }
  };
}
