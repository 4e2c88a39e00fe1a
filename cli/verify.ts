/** `pipe verify`: reads the whole store again. */
import { relative } from 'node:path';
import { verify as verifyStore } from '../engine/verify.ts';
import { withWorkspace } from './request.ts';
import { count, isWatched, print, printJson, size } from './text.ts';

export interface VerifyOptions {
  readonly json?: true;
}

/** @returns 0 when everything is as its digest says, 1 when something was damaged. */
export function verify(options: VerifyOptions): Promise<number> {
  return withWorkspace(async (workspace) => {
    const isShown = isWatched() && !options.json;
    const report = await verifyStore(workspace, (done, total) => {
      if (isShown)
        process.stdout.write(`\rreading ${Math.floor((100 * done) / total)}%${done === total ? '\r\u001b[2K' : ''}`);
    });
    const { blobs, records, bytes, damaged, recompute } = report;
    if (options.json) {
      printJson(report);
      return damaged.length === 0 ? 0 : 1;
    }
    const read = `${count(records, 'record')} and ${count(blobs, 'blob')} (${size(bytes)})`;
    if (damaged.length === 0) {
      print(`${read}: everything is as its digest says`);
      return 0;
    }
    print(`${read}: ${damaged.length} damaged, put aside in cache/quarantine/`);
    for (const { path, problem } of damaged) print(`  ${relative(workspace.project.root, path)}: ${problem}`);
    const tasks = new Set(recompute.map(({ task }) => task));
    if (tasks.size > 0) print(`the next run computes again: ${[...tasks].join(', ')}`);
    return 1;
  }, quiet);
}

/** The report names all damage. */
const quiet = (): void => undefined;
