/** Large graphs: made cold and looked at again when nothing is to do, here and by other tools, with the memory that each takes. */
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { inFolder, makeProject, pipeline, recordAll, withGraph } from './engine_project.ts';
import { type Bar, type Figure, type Skipped, type Subject, sampleOf, type Unit } from './figure.ts';
import { type GraphTool, readyTools } from './graph_tools.ts';

const pipe = [process.execPath, join(import.meta.dirname, '..', 'dist', 'pipe.mjs')];

/** Prints the largest memory of a process; from the Debian package of that name. */
const timeProgram = '/usr/bin/time';

/** A file's mark is trusted once it is older than a tick of the file system's clock. */
const clockTick = 200;

export const scale: Subject = {
  name: 'scale',
  async measure(rounds) {
    const figures: (Figure | Skipped)[] = [];
    for (const tasks of [1000, 10_000, 100_000]) figures.push(...(await idle(tasks, Math.min(rounds, 5))));
    for (const tool of readyTools()) {
      if ('skipped' in tool) figures.push({ what: `a graph of commands, ${tool.name}`, skipped: tool.skipped });
      else for (const tasks of [1000, 10_000]) figures.push(...(await made(tool, tasks, Math.min(rounds, 3))));
    }
    return figures;
  },
};

/** Whole processes in a project where every task has a record, and with one record gone. */
function idle(tasks: number, rounds: number): Promise<Figure[]> {
  const bars: Readonly<Record<number, { seconds: number; megabytes?: number }>> = {
    1000: { seconds: 0.2 },
    10000: { seconds: 0.5, megabytes: 150 },
    100000: { seconds: 3, megabytes: 600 },
  };
  const { seconds, megabytes } = bars[tasks]!;
  return inFolder(async (home) => {
    const root = makeProject(home, tasks);
    const leaf = await withGraph(root, async (workspace, graph) => {
      await recordAll(workspace, graph);
      const key = [...workspace.store.catalog.all()].find(({ task }) => task === graph.tasks[0]!.id)!.key;
      return join(root, 'cache', 'ac', key.slice(0, 2), key);
    });
    await setTimeout(clockTick);
    const figures: Figure[] = [];
    for (const words of [
      ['status', pipeline, '--check'],
      ['run', pipeline, '-j', '2'],
    ]) {
      const name = `pipe ${words[0]}, ${tasks.toLocaleString('en')} tasks`;
      // The first two times learn what later ones remember.
      for (let i = 0; i < 2; i++) whole([...pipe, ...words], root);
      const runs = Array.from({ length: rounds }, () => whole([...pipe, ...words], root));
      const nothing = sampleOf(runs.map((run) => run.seconds)).median;
      figures.push(
        figure(
          `${name}, nothing to do`,
          's',
          runs.map((run) => run.seconds),
          { value: seconds },
        ),
      );
      figures.push(...memoryOf(`${name}: memory`, runs, megabytes === undefined ? undefined : { value: megabytes }));
      if (tasks > 10_000) continue;
      const stale = Array.from({ length: rounds }, () => {
        rmSync(leaf, { force: true });
        return whole([...pipe, ...words.filter((word) => word !== '--check')], root).seconds;
      });
      figures.push(figure(`${name}, one leaf to make`, 's', stale));
      const more = stale.map((time) => time - nothing);
      figures.push(figure(`${name}, one leaf to make: more than nothing to do`, 's', more, { value: 0.02 }));
    }
    return figures;
  });
}

/** A graph of commands, made once with two jobs, and then looked at. */
function made(tool: GraphTool, tasks: number, rounds: number): Promise<(Figure | Skipped)[]> {
  const name = `${tool.name} (${tool.judges}), ${tasks.toLocaleString('en')} commands`;
  if (tasks > tool.most) {
    return Promise.resolve([{ what: name, skipped: `takes too long: it is asked for ${tool.most} at the most` }]);
  }
  const isOurs = tool.name === 'pipe';
  return inFolder(async (home) => {
    const folder = mkdtempSync(join(home, 'graph-'));
    tool.layOut(folder, tasks);
    const run = () => whole(tool.command, folder, tool.env);
    const cold = run();
    await setTimeout(clockTick);
    run();
    const looks = Array.from({ length: rounds }, run);
    const seconds = looks.map((look) => look.seconds);
    return [
      figure(`${name}: cold, 2 jobs`, 's', [cold.seconds], isOurs ? { value: tasks * 0.002 } : undefined),
      figure(`${name}: nothing to do`, 's', seconds, isOurs ? { value: tasks > 1000 ? 0.5 : 0.2 } : undefined),
      ...memoryOf(`${name}: memory`, looks, isOurs && tasks > 1000 ? { value: 150 } : undefined),
    ];
  });
}

interface Whole {
  readonly seconds: number;
  /** Null where it cannot be told. */
  readonly megabytes: number | null;
}

/** Runs a command to its end. @throws Error when it fails. */
function whole(words: readonly string[], cwd: string, env: Readonly<Record<string, string>> = {}): Whole {
  const told = join(cwd, '..', 'memory');
  const isTold = existsSync(timeProgram);
  const [program, ...rest] = isTold ? [timeProgram, '-f', '%M', '-o', told, ...words] : words;
  const begun = performance.now();
  // Where this names a list of certificates, each Node reads it as it starts: up to 40 ms that have nothing to do with the tool.
  const { NODE_EXTRA_CA_CERTS: _, ...ownEnv } = process.env;
  const { status, stderr } = spawnSync(program!, rest, {
    cwd,
    env: { ...ownEnv, ...env },
    stdio: ['ignore', 'ignore', 'pipe'],
    maxBuffer: 1 << 28,
  });
  const seconds = (performance.now() - begun) / 1000;
  if (status !== 0) throw new Error(`${words.join(' ')} ended with ${status}: ${stderr.toString().slice(-300)}`);
  return { seconds, megabytes: isTold ? Number(readFileSync(told, 'utf8')) / 1024 : null };
}

function memoryOf(what: string, runs: readonly Whole[], bar?: Bar): Figure[] {
  const values = runs.map(({ megabytes }) => megabytes).filter((value) => value !== null);
  return values.length === 0 ? [] : [figure(what, 'MB', values, bar)];
}

function figure(what: string, unit: Unit, values: readonly number[], bar?: Bar): Figure {
  return { what, unit, measured: sampleOf(values), bar };
}
