/** `pipe verify`: reads the whole cache again; with `--rerun`, executes recorded tasks again and compares. */
import { relative } from 'node:path';
import type { RerunResult } from '../engine/rerun.ts';
import { verify as verifyStore } from '../engine/verify.ts';
import { openForLook, type RequestOptions, withWorkspace } from './request.ts';
import { count, duration, isWatched, paint, print, printJson, size } from './text.ts';

export interface VerifyOptions extends RequestOptions {
  readonly rerun?: true;
  readonly jobs?: number;
  readonly json?: true;
}

/**
 * @param args with `--rerun`: the pipeline, if the first names one, and the tasks to be executed again
 * @returns 0 when everything is as its digest says (with `--rerun`: comes out as recorded), else 1.
 */
export function verify(args: readonly string[], options: VerifyOptions): Promise<number> {
  return options.rerun ? rerunTasks(args, options) : readAll(options);
}

function readAll(options: VerifyOptions): Promise<number> {
  return withWorkspace(async (workspace) => {
    const isShown = isWatched() && !options.json;
    const report = await verifyStore(workspace, (done, total) => {
      if (isShown)
        process.stdout.write(`\rreading ${Math.floor((100 * done) / total)}%${done === total ? '\r\u001b[2K' : ''}`);
    });
    const { blobs, records, bytes, damaged, recompute, divergent } = report;
    if (options.json) {
      printJson(report);
      return damaged.length === 0 ? 0 : 1;
    }
    const read = `${count(records, 'record')} and ${count(blobs, 'blob')} (${size(bytes)})`;
    if (damaged.length === 0) print(`${read}: everything is as its digest says`);
    else {
      print(`${read}: ${damaged.length} damaged, put aside in cache/quarantine/`);
      for (const { path, problem } of damaged) print(`  ${relative(workspace.project.root, path)}: ${problem}`);
      const tasks = new Set(recompute.map(({ task }) => task));
      if (tasks.size > 0) print(`the next run computes again: ${[...tasks].join(', ')}`);
    }
    for (const { task, artifacts } of divergent) {
      print(`${paint('yellow', task)} gave different results with one key: ${artifacts.join(', ')}`);
    }
    return damaged.length === 0 ? 0 : 1;
  }, quiet);
}

/** The report names all damage. */
const quiet = (): void => undefined;

function rerunTasks(args: readonly string[], options: VerifyOptions): Promise<number> {
  return withWorkspace(async (workspace) => {
    const { rerun } = await import('../engine/rerun.ts');
    const started = performance.now();
    const { graph, targets } = await openForLook(workspace, args, options);
    const jobs = options.jobs === undefined ? {} : { jobs: options.jobs };
    const results = await rerun(workspace, graph, { targets, ...jobs }, (result) => {
      if (options.json) print(JSON.stringify(result));
      else printResult(result);
    });
    const number = (outcome: RerunResult['outcome']) => results.filter((result) => result.outcome === outcome).length;
    const [different, failed, unrecorded] = [number('different'), number('failed'), number('unrecorded')];
    if (!options.json) {
      const parts = [`${number('same')} the same`, `${different} different`, `${failed} failed`];
      if (unrecorded > 0) parts.push(`${unrecorded} not recorded`);
      const seconds = (performance.now() - started) / 1000;
      print(`${graph.name}: executed again in ${duration(seconds)}: ${parts.join(', ')}`);
    }
    return different + failed === 0 ? 0 : 1;
  });
}

function printResult(result: RerunResult): void {
  switch (result.outcome) {
    case 'same':
      print(`${result.task} the same (${duration(result.seconds)})`);
      return;
    case 'unrecorded':
      print(`${result.task} not recorded as it is now: run it first`);
      return;
    case 'failed':
      print(paint('red', result.message));
      for (const line of result.tail.slice(-10)) print(`  ${paint('dim', '|')} ${line}`);
      return;
    case 'different':
      print(`${paint('red', result.task)} DIFFERENT (${duration(result.seconds)})`);
      for (const { artifact, recorded, now, where } of result.differences) {
        print(`  ${artifact}: ${shortDigest(recorded)} -> ${shortDigest(now)}`);
        if (where !== null) print(`    ${where}`);
      }
  }
}

const shortDigest = (digest: string | null) => digest?.slice(0, 12) ?? 'none';
