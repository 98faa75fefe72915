#!/usr/bin/env node
// The command. This file must parse on old versions of Node, so that they are told what is missing and not shown a
// syntax error: nothing newer than Node 12 here. Everything else is in launch.mjs, which only Node 26 and newer reads.

const NEEDED = 26;

if (Number.parseInt(process.versions.node, 10) < NEEDED) {
  const found = `Node.js ${process.versions.node} (${process.execPath})`;
  console.error(`garrison: Node.js ${NEEDED} or newer is needed, and this is ${found}
  help: in a checkout, \`npm ci\` brings Node.js ${NEEDED} along: run \`npx garrison ...\` there;
        elsewhere, install it from https://nodejs.org/en/download or with a version manager (\`nvm install ${NEEDED}\`)`);
  process.exitCode = 1;
} else {
  import("./launch.mjs").then((module) => module.launch(new URL("..", import.meta.url), process.argv.slice(2)));
}
