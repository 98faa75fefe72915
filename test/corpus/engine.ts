/** The decision engine as the evaluation of test cases asks it: the one of `garrison authz`. */
export { engineOf as decisionEngine } from "../../src/cli/authz/engine.ts";
