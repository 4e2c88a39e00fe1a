/** `pipe gc`: removes what is not wanted any more from cache/. */
import { UsageError } from '../engine/errors.ts';
import { collectGarbage, planGarbage } from '../engine/gc.ts';
import { parseBytes } from '../engine/quantity.ts';
import { withWorkspace } from './request.ts';
import { count, print, printJson, size } from './text.ts';

export interface GcOptions {
  readonly maxSize?: string;
  readonly keepRuns?: number;
  readonly dryRun?: true;
  readonly json?: true;
}

/** @throws UsageError for a size that is none, and while a run is under way. */
export function gc(options: GcOptions): Promise<number> {
  return withWorkspace(async (workspace) => {
    const limits: { keepRuns?: number; maxBytes?: number } = {};
    if (options.keepRuns !== undefined) limits.keepRuns = options.keepRuns;
    if (options.maxSize !== undefined) limits.maxBytes = bytesOf(options.maxSize);
    const plan = options.dryRun ? planGarbage(workspace, limits) : collectGarbage(workspace, limits);
    if (options.json) {
      printJson({ ...plan, records: plan.records.map(({ key, task }) => ({ key, task })), removed: !options.dryRun });
      return 0;
    }
    const { records, blobs, runs, folders, freedBytes, keptBytes } = plan;
    print(`${options.dryRun ? 'would free' : 'freed'} ${size(freedBytes)}, ${size(keptBytes)} stay`);
    print(`  ${count(records.length, 'record')}, ${count(blobs.length, 'blob')}, ${count(runs.length, 'run')}`);
    if (folders.length > 0) print(`  rebuilt when needed: ${folders.map((name) => `cache/${name}`).join(', ')}`);
    return 0;
  });
}

function bytesOf(text: string): number {
  const bytes = parseBytes(/^\d+$/.test(text) ? Number(text) : text);
  if (bytes === null)
    throw new UsageError(`--max-size: ${text} is not a size\n  write 500MB, 2GB or a number of bytes`);
  return bytes;
}
