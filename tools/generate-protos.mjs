// Generates src/gen from the .proto files of installed packages and of proto/ (plain JavaScript: it runs before Node 26 is known to be there).
//
// Envoy's and xDS's files come from @grpc/grpc-js-xds (deps/). Its copy of validate.proto lacks a field that Envoy's
// files use, so generation works on a copy with the `validate` options stripped: they carry no wire meaning.
import { execFileSync } from "node:child_process";
import { createHash } from "node:crypto";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

const root = dirname(dirname(fileURLToPath(import.meta.url)));
const output = join(root, "src", "gen");
const own = join(root, "proto");
const require = createRequire(import.meta.url);

/** The files whose messages the source imports; what they import is generated too. */
const WANTED = [
  "envoy/service/discovery/v3/ads.proto",
  "envoy/service/secret/v3/sds.proto",
  "envoy/service/accesslog/v3/als.proto",
  "envoy/service/auth/v3/external_auth.proto",
  "envoy/config/listener/v3/listener.proto",
  "envoy/config/cluster/v3/cluster.proto",
  "envoy/config/endpoint/v3/endpoint.proto",
  "envoy/config/route/v3/route.proto",
  "envoy/config/bootstrap/v3/bootstrap.proto",
  "envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.proto",
  "envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy.proto",
  "envoy/extensions/filters/network/rbac/v3/rbac.proto",
  "envoy/extensions/filters/network/ext_authz/v3/ext_authz.proto",
  "envoy/extensions/filters/http/rbac/v3/rbac.proto",
  "envoy/extensions/filters/http/jwt_authn/v3/config.proto",
  "envoy/extensions/filters/http/header_mutation/v3/header_mutation.proto",
  "envoy/extensions/filters/http/header_to_metadata/v3/header_to_metadata.proto",
  "envoy/extensions/filters/http/router/v3/router.proto",
  "envoy/extensions/filters/http/ext_authz/v3/ext_authz.proto",
  "envoy/extensions/filters/http/composite/v3/composite.proto",
  "envoy/extensions/common/matching/v3/extension_matcher.proto",
  "envoy/extensions/filters/listener/original_dst/v3/original_dst.proto",
  "envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector.proto",
  "envoy/extensions/transport_sockets/tls/v3/tls.proto",
  "envoy/extensions/transport_sockets/tls/v3/tls_spiffe_validator_config.proto",
  "envoy/extensions/transport_sockets/raw_buffer/v3/raw_buffer.proto",
  "envoy/extensions/access_loggers/grpc/v3/als.proto",
  "envoy/extensions/access_loggers/filters/cel/v3/cel.proto",
  "envoy/extensions/upstreams/http/v3/http_protocol_options.proto",
  "envoy/extensions/path/match/uri_template/v3/uri_template_match.proto",
];

function protoFiles(folder, prefix = "") {
  return readdirSync(join(folder, prefix), { withFileTypes: true }).flatMap((entry) => {
    const path = prefix === "" ? entry.name : `${prefix}/${entry.name}`;
    if (entry.isDirectory()) return protoFiles(folder, path);
    return entry.name.endsWith(".proto") ? [path] : [];
  });
}

/** Drops every `[(validate…) = …]` field option, `option (validate…)` and the import, keeping other options. */
function stripValidate(text) {
  let result = text.replace(/^import "validate\/validate\.proto";$/gm, "").replace(/^\s*option \(validate\.[^;]*;$/gm, "");
  for (;;) {
    const start = result.search(/\(validate\.[a-z_]+\)/);
    if (start < 0) return result.replace(/\[\s*\]/g, "");
    let end = start;
    for (let depth = 0; end < result.length; end++) {
      const char = result[end];
      if (char === '"') end = result.indexOf('"', end + 1);
      else if (char === "{" || char === "[") depth++;
      else if (char === "}") depth--;
      else if (char === "]" && depth-- === 0) break;
      else if (char === "," && depth === 0) break;
    }
    const before = result.slice(0, start);
    result = result[end] === "," ? before + result.slice(end + 1) : before.replace(/,\s*$/, "") + result.slice(end);
  }
}

function main() {
  const deps = join(dirname(require.resolve("@grpc/grpc-js-xds/package.json")), "deps");
  const stamp = createHash("sha256").update(readFileSync(fileURLToPath(import.meta.url)));
  stamp.update(readFileSync(require.resolve("@grpc/grpc-js-xds/package.json")));
  for (const path of protoFiles(own).sort()) stamp.update(path).update(readFileSync(join(own, path)));
  const version = stamp.digest("hex");
  const stampFile = join(output, ".version");
  if (existsSync(stampFile) && readFileSync(stampFile, "utf8") === version) return;

  const work = mkdtempSync(join(root, "node_modules", ".protos-"));
  try {
    const modules = [];
    for (const name of ["envoy-api", "xds", "googleapis"]) {
      for (const path of protoFiles(join(deps, name))) {
        const target = join(work, name, path);
        mkdirSync(dirname(target), { recursive: true });
        writeFileSync(target, stripValidate(readFileSync(join(deps, name, path), "utf8")));
      }
      modules.push(name);
    }
    cpSync(own, join(work, "own"), { recursive: true });
    modules.push("own");
    writeFileSync(join(work, "buf.yaml"), `version: v2\nmodules:\n${modules.map((m) => `  - path: ${m}\n`).join("")}`);
    const bin = (name) => join(root, "node_modules", ".bin", name);
    const plugin = { local: bin("protoc-gen-es"), out: "out", opt: ["target=js+dts", "import_extension=js"], include_imports: true };
    writeFileSync(join(work, "buf.gen.yaml"), JSON.stringify({ version: "v2", plugins: [plugin] }));
    const paths = [
      ...WANTED.map((path) => ["envoy-api", "xds", "googleapis"].map((m) => join(m, path)).find((p) => existsSync(join(work, p)))),
      ...protoFiles(own).map((p) => `own/${p}`),
    ];
    execFileSync(bin("buf"), ["generate", ...paths.flatMap((path) => ["--path", path])], {
      cwd: work,
      stdio: ["ignore", "inherit", "inherit"],
    });
    rmSync(output, { recursive: true, force: true });
    cpSync(join(work, "out"), output, { recursive: true });
    writeFileSync(stampFile, version);
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

if (statSync(own, { throwIfNoEntry: false })?.isDirectory() && existsSync(join(root, "node_modules", "@bufbuild"))) main();
