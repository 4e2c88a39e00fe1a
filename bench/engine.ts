/** What the engine itself costs: whole commands that have nothing to do, and a trivial task in a warm worker. */
import { execFileSync, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { runPipeline } from '../engine/run.ts';
import { inProject, pipeline, recordAll, withGraph } from './engine_project.ts';
import { type Figure, type Sample, type Skipped, type Subject, sampleOf, takeTurns } from './figure.ts';

const root = join(import.meta.dirname, '..');
const pipe = join(root, 'dist', 'pipe.mjs');
const study = 'pipelines/layer-sensitivity.yaml';

/** A file's mark is trusted once it is older than a tick of the file system's clock. */
const clockTick = 200;

export const engine: Subject = { name: 'engine', measure };

async function measure(rounds: number): Promise<(Figure | Skipped)[]> {
  const commands = { help: node([pipe, '--help'], root), bare: node(['-e', '0'], root) };
  for (const command of Object.values(commands)) command();
  const { help, bare } = await takeTurns(rounds, commands);
  const against = { what: 'node -e 0', sample: sampleOf(bare) };
  const figure = (what: string, measured: Sample, most?: number): Figure => ({
    what,
    unit: 's',
    measured,
    against,
    bar: most === undefined ? undefined : { value: most },
  });

  const figures: (Figure | Skipped)[] = [figure('pipe --help', sampleOf(help), 0.12)];
  for (const tasks of [10, 1000, 10_000]) {
    const what = `pipe status, ${tasks.toLocaleString('en')} tasks, nothing to do`;
    figures.push(figure(what, await idleStatus(tasks, rounds), tasks === 10_000 ? 0.6 : undefined));
  }
  figures.push(await idleStudy(rounds, (sample) => figure(`pipe run ${study}, nothing to do`, sample, 0.4)));
  figures.push(await trivialTask(rounds));
  return figures;
}

/** A command that runs Node and must succeed. */
function node(words: readonly string[], cwd: string): () => void {
  return () => {
    execFileSync(process.execPath, words, { cwd, stdio: ['ignore', 'ignore', 'inherit'] });
  };
}

/** `pipe status` where every task has a record; with `--check`, so that it fails if one has not. */
function idleStatus(tasks: number, rounds: number): Promise<Sample> {
  return inProject(tasks, async (root) => {
    await withGraph(root, recordAll);
    await setTimeout(clockTick);
    return wholeCommand([pipe, 'status', pipeline, '--check'], root, rounds);
  });
}

/** A second run of the project's own study, where the first has been made here. */
async function idleStudy(rounds: number, figureOf: (sample: Sample) => Figure): Promise<Figure | Skipped> {
  const { status } = spawnSync(process.execPath, [pipe, 'status', study, '--check'], { cwd: root });
  if (status !== 0)
    return { what: `pipe run ${study}, nothing to do`, skipped: `not up to date here: pipe run ${study}` };
  return figureOf(await wholeCommand([pipe, 'run', study], root, rounds));
}

/** The first two times learn what later ones remember. */
async function wholeCommand(words: readonly string[], cwd: string, rounds: number): Promise<Sample> {
  const command = node(words, cwd);
  for (let i = 0; i < 2; i++) command();
  return sampleOf((await takeTurns(rounds, { command })).command);
}

/** The cost of a task that does nothing much, against what the disk takes for the files and folders that it needs. */
async function trivialTask(rounds: number): Promise<Figure> {
  const tasks: number[] = [];
  const files: number[] = [];
  for (let round = 0; round < rounds; round++) {
    tasks.push(await secondsPerTask(400, 40));
    files.push(await secondsPerFileSet(400, 40));
  }
  return {
    what: 'one trivial task in a warm worker',
    unit: 's',
    measured: sampleOf(tasks),
    against: { what: 'its files and folders alone', sample: sampleOf(files) },
    bar: { value: 0.002 },
  };
}

/** Seconds from one record to the next, of `count` tasks that run one after the other in one worker; the first `warm` do not count. */
function secondsPerTask(count: number, warm: number): Promise<number> {
  return inProject(count, (root) =>
    withGraph(root, async (workspace, graph) => {
      const done: number[] = [];
      const { status } = await runPipeline(workspace, graph, { jobs: 1 }, (event) => {
        if (event.type === 'task-done' && event.origin === 'executed') done.push(performance.now());
      });
      if (done.length !== count)
        throw new Error(`${done.length} of ${count} tasks were executed, and the run was ${status}`);
      return (done.at(-1)! - done[warm - 1]!) / (count - warm) / 1000;
    }),
  );
}

/**
 * The same without an engine: for each task a private folder with three in it, an output and a record written, flushed
 * to the disk and renamed, and the folder removed while the next one begins.
 */
async function secondsPerFileSet(count: number, warm: number): Promise<number> {
  const root = mkdtempSync(join(tmpdir(), 'pipe-bench-'));
  const removals: Promise<void>[] = [];
  let begun = 0;
  for (let i = 0; i < count; i++) {
    if (i === warm) begun = performance.now();
    const home = join(root, `attempt-${i}`);
    for (const name of ['in', 'out', 'scratch']) mkdirSync(join(home, name), { recursive: true });
    const files = [join(home, 'out', 'out.txt'), join(root, `record-${i}.tmp`)];
    await Promise.all(files.map((path) => writeFile(path, String(i), { flush: true })));
    renameSync(files[0]!, join(root, `blob-${i}`));
    renameSync(files[1]!, join(root, `record-${i}`));
    removals.push(rm(home, { recursive: true }));
  }
  const seconds = (performance.now() - begun) / 1000;
  await Promise.all(removals);
  rmSync(root, { recursive: true });
  return seconds / (count - warm);
}
