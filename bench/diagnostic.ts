/** What the whole study costs: the diagnostic in profile tiny from a clean cache, once, and repeated with nothing to do. */
import { execFileSync } from 'node:child_process';
import { cpSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout } from 'node:timers/promises';
import { inFolder } from './engine_project.ts';
import { type Figure, type Subject, sampleOf, secondsOf, takeTurns } from './figure.ts';

const root = join(import.meta.dirname, '..');
const pipe = join(root, 'dist', 'pipe.mjs');

/** A file's mark is trusted once it is older than a tick of the file system's clock. */
const clockTick = 200;

export const diagnostic: Subject = { name: 'diagnostic', measure };

function measure(rounds: number): Promise<Figure[]> {
  return inFolder(async (home) => {
    for (const path of ['pipelines', 'assets/gpt2-tiny'])
      cpSync(join(root, path), join(home, path), { recursive: true });
    const run = () => {
      execFileSync(process.execPath, [pipe, 'run', 'diagnostic'], {
        cwd: home,
        stdio: ['ignore', 'ignore', 'inherit'],
      });
    };
    const whole = await secondsOf(run);
    await setTimeout(clockTick);
    // The first two times learn what later ones remember.
    for (let i = 0; i < 2; i++) run();
    const { again } = await takeTurns(rounds, { again: run });
    return [
      {
        what: 'pipe run diagnostic, clean cache',
        unit: 's',
        measured: sampleOf([whole]),
        bar: { value: 900 },
      },
      { what: 'pipe run diagnostic, nothing to do', unit: 's', measured: sampleOf(again), bar: { value: 0.5 } },
    ];
  });
}
