/** What one trivial task costs in a warm worker, against what the disk takes for the files and folders that it needs. */
import { existsSync, mkdirSync, mkdtempSync, renameSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { runPipeline } from '../engine/run.ts';
import { inFolder, makeProject, withGraph } from './engine_project.ts';
import { type Bar, type Figure, type Subject, sampleOf } from './figure.ts';

/** Tasks of one round; the first do not count. */
const count = 400;
const warm = 40;

/** A disk in memory, where the system has one: what is left is the engine's own cost. */
const memoryDisk = '/dev/shm';

export const task: Subject = {
  name: 'task',
  async measure(rounds) {
    const figures = [await figureOn(tmpdir(), 'one trivial task in a warm worker', rounds, { value: 0.001 })];
    if (existsSync(memoryDisk)) figures.push(await figureOn(memoryDisk, `the same, in ${memoryDisk}`, rounds));
    return figures;
  },
};

/** Everything stays until the last round is over: some disks are slow to make files where many were just removed. */
function figureOn(disk: string, what: string, rounds: number, bar?: Bar): Promise<Figure> {
  return inFolder(async (home) => {
    const tasks: number[] = [];
    const files: number[] = [];
    for (let round = 0; round < rounds; round++) {
      tasks.push(await secondsPerTask(home));
      files.push(await secondsPerFileSet(home));
    }
    const against = { what: 'its files and folders alone', sample: sampleOf(files) };
    return { what, unit: 's', measured: sampleOf(tasks), against, bar };
  }, disk);
}

/** Seconds from one record to the next, of tasks that run one after the other in one worker. */
function secondsPerTask(home: string): Promise<number> {
  return withGraph(makeProject(home, count), async (workspace, graph) => {
    const done: number[] = [];
    const { status } = await runPipeline(workspace, graph, { jobs: 1 }, (event) => {
      if (event.type === 'task-done' && event.origin === 'executed') done.push(performance.now());
    });
    if (done.length !== count) {
      throw new Error(`${done.length} of ${count} tasks were executed, and the run was ${status}`);
    }
    return (done.at(-1)! - done[warm - 1]!) / (count - warm) / 1000;
  });
}

/**
 * The same without an engine: for each task a private folder that bears a new name, an output and a record written, flushed to the
 * disk and renamed.
 */
async function secondsPerFileSet(home: string): Promise<number> {
  const root = mkdtempSync(join(home, 'files-'));
  const placeOf = (i: number) => join(root, `attempt-${i}`);
  for (const folder of [placeOf(0), join(placeOf(0), 'out')]) mkdirSync(folder);
  let begun = 0;
  for (let i = 1; i <= count; i++) {
    if (i === warm + 1) begun = performance.now();
    renameSync(placeOf(i - 1), placeOf(i));
    const files = [join(placeOf(i), 'out', 'out.txt'), join(root, `record-${i}.tmp`)];
    await Promise.all(files.map((path) => writeFile(path, String(i), { flush: true })));
    renameSync(files[0]!, join(root, `blob-${i}`));
    renameSync(files[1]!, join(root, `record-${i}`));
  }
  return (performance.now() - begun) / 1000 / (count - warm);
}
