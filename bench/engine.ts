/** What the command costs when it has nothing to do: whole processes, from start to exit. */
import { execFileSync, spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { inFolder, makeProject, pipeline, recordAll, withGraph } from './engine_project.ts';
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
  // Larger graphs are measured by `scale`.
  figures.push(figure('pipe status, 10 tasks, nothing to do', await idleStatus(10, rounds)));
  figures.push(await idleStudy(rounds, (sample) => figure(`pipe run ${study}, nothing to do`, sample, 0.4)));
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
  return inFolder(async (home) => {
    const root = makeProject(home, tasks);
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
