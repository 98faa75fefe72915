/** What a diagnostic means for whoever meets it, and what to do: the last column of `docs/reference/diagnostics.md`. */
import type { DiagnosticCode } from "../../src/core/diagnostic.ts";

export const DIAGNOSTIC_HELP: Readonly<Record<DiagnosticCode, string>> = {
  GAR0001:
    "Nothing in the file can be read. What it said before stays in force; at a start, the control plane does not come up. Mend it, or take it out of the folder.",
  GAR0002:
    "The kind, or its version, is none that the mesh has, or the document is a `List`. Keep what is not for the mesh in another folder; write lists as single documents.",
  GAR0003: "Nobody would read it, and its author counts on it. It is most often a typo.",
  GAR0004:
    "Istio or Kubernetes know it, and Garrison does not honour it, so it is refused rather than left out in silence. The help says what to write instead.",
  GAR0005: "Add it: nothing is assumed in its place.",
  GAR0006: "Such as a list where a text belongs, or a word that YAML reads as true or as a number. Put texts in quotes.",
  GAR0007: "The help says which values there are, and how they are written.",
  GAR0008: "Nothing tells which of the two is meant. Remove one, or give it a name of its own.",
  GAR0009: "It is larger, deeper or longer than anything that was meant. Split it.",
  GAR0010: "The system refused. What the file said before stays in force. Look at its permissions, and at the links that lead there.",
  GAR0011: "`{}` selects every workload in scope, which is rarely what its author meant. Remove the selector to say so, or name a label.",
  GAR0012: "Tokens that are signed by this key are refused; the other keys of the set are used.",
  GAR0013:
    "It concerns load, retries or the like, which the proxies here do not shape. Who is spoken to, and how securely, is the same without it.",
  GAR0014:
    "It concerns access logs, tracing, ports of proxies and the like. Nothing is lost for identities and policies; leave it where it is.",
  GAR0015: "Meant for a mesh that is being taken into use: remove the field to have calls encrypted wherever the server can.",
  GAR0101: "Calls to the service fail. Its selector must match the labels of a workload of its own namespace.",
  GAR0102:
    "The object stays in force as far as it goes without the other one; the message says what does not work. Add the missing one, or correct the name.",
  GAR0103:
    "The object has no effect. Its selector must match all labels of some workload of its namespace (of the root namespace: of any).",
  GAR0104: "Only the first one gets it. Change the address, port or name of the other.",
  GAR0105: "Calls to this port of the service fail at this workload. Add an `ingress` listener for it, or correct `targetPort`.",
  GAR0106: "It is ignored in Istio as well. The help says where such a thing counts.",
  GAR0107: "It cannot change while the control plane runs, or the command line says otherwise. Make both say the same, and start anew.",
  GAR0201:
    "A TCP connection has no method, path or host. A DENY without them denies every connection; an ALLOW with them allows none. Name the HTTP ports in `ports`, or say that the port speaks HTTP.",
  GAR0202: "What is not named is allowed, other spellings of the excluded ones included. Name what may be called instead.",
  GAR0203: "Servers differ in what they take for one path. Deny by default, and allow what may be called.",
  GAR0204: "In plaintext, callers prove no identity. Set the mode to STRICT, or deny plaintext.",
  GAR0205: "Without a RequestAuthentication no token counts. Add one with the issuer of the tokens.",
  GAR0206: "A RequestAuthentication refuses invalid tokens only. Requests without any pass, unless a rule asks for a requester.",
  GAR0207:
    "The rule does not do what it looks like, for nothing that arrives is written so: `get`, `spiffe://…`, a path without `/` or with a query, a host with `https://`, a `*` within a value.",
  GAR0208:
    "No ServiceAccount and no workload has this name, so that nobody can prove to be it: a typo, or an account still to come. Patterns and other trust domains are not looked at.",
  GAR0209: "Only the bits of the prefix count, so that `10.1.2.3/16` is all of `10.1.0.0/16`. Write what is meant.",
  GAR0210: "Rules see the workload's own port (`targetPort`), not the port that clients of the service name. Write that one.",
  GAR0211: "No connection is ever held against the rule: its workloads listen nowhere, or its ports exclude each other.",
  GAR0212: "Values and exceptions stand side by side, and nothing is left: a DENY denies nothing, an ALLOW allows nothing by it.",
  GAR0213:
    "Of several for one namespace, or one workload, only one holds: the oldest, and without times, as in files, the first by name. Join them.",
  GAR0214: "`portLevelMtls` is by the workload's own port. For any other it says nothing.",
  GAR0215:
    "A typo, perhaps: the object holds for nobody. A namespace exists with an object of its kind, or with a ServiceAccount or workload in it.",
  GAR0216:
    "It is passed over, also at a start. What its file said before stays in force as long as the text is there. Keep files that are not for the mesh elsewhere.",
  GAR0218:
    "Istio has no annotation of this name, nor has Garrison, so that what it was to say is not said. Most often it is a typo; with `istio.io/dry-run`, the policy is enforced.",
  GAR0219: "Fields of one source, of one operation, and all conditions hold at once; only the values of one list are alternatives.",
  GAR0220: "The server of a Gateway that needs it stays closed. Give the account of the control plane a Role for that Secret.",
  GAR0223:
    "Istio takes such a rule as well. Where several issuers share keys, each of them can then speak for all others; rules by `requestPrincipals` name the issuer that the token claims.",
  GAR0224:
    "Whoever writes a RequestAuthentication chooses what the control plane asks, so that only public addresses are, by HTTPS. Until the operator allows more, every token of the rule is refused.",
  GAR0230:
    "Nothing holds by it: these workloads reach services by the listeners of their proxies. Capture their traffic, or take the setting away.",
  GAR0231:
    "It is served as a workload that is not captured, so nothing that its machine redirects is understood. Correct the address or the mode.",
  GAR0232:
    "A connection says an address and a port, and nothing of whom it is meant for: the first service has it. Change the address of the other.",
  GAR0233:
    "At a PERMISSIVE port Envoy tells TLS from plaintext by a client's first byte, for which a client of MySQL, SMTP and the like lets the server begin. Clients of the mesh are served; for others, give the port the mode DISABLE by `portLevelMtls`, or STRICT to refuse them at once.",
  GAR0301: "No request reaches these routes: no server of their gateways has such a host, or takes routes of this namespace.",
  GAR0320:
    "What one proxy would take and another refuse, or what is no CA's root, is never trusted. The mesh's last valid configuration stays in force; at a start there is none, and `garrison serve` ends.",
  GAR0321: "It stays in the configuration and does nothing: certificates that it signed are refused.",
  GAR0322: "Taking it out in one of the places would not end the trust in it.",
  GAR0360:
    "Nothing of that cluster is in force, or what was in force before. Make its Secret anew; nothing in a kubeconfig may run a program, read a file or turn a check off.",
  GAR0361: "Clients see the ports of the first cluster alone. Make the Services the same, or give one of them another name.",
  GAR0362:
    "Packets for that address go to the other cluster's pod, so this one has no identity here. Give the clusters ranges of their own.",
  GAR0363:
    "What was seen of it last stays in force. Its API server is away, or its account has not the rights that it needs, or its token has ended.",
  GAR0364: "Pods of different networks reach each other by gateways, which are not supported. Federate two meshes instead.",
  GAR0340: "A name leads to an address by which the proxy tells the service: both need captured traffic. Capture it, or remove the word.",
  GAR0401: "The rule has no effect. Correct the host, or add the Service or ServiceEntry.",
  GAR0402: "Clients are told to speak plaintext to ports that refuse it: these calls fail. Remove the mode, or open the server's.",
  GAR0403: "Whoever answers is believed, so that encryption proves nothing. Name the certificate authority and the names instead.",
  GAR0404:
    "Nothing is sent there, for nothing says whose certificate to expect. Name the account, or say that the endpoint is outside the mesh.",
  GAR0405: "Only a client's own namespace, or the root namespace, may choose among the files on its machine. Move the rule there.",
};
