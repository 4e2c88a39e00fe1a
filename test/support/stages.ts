/** Runs a stage as the engine would, in folders of its own, and gives back what it wrote, logged and measured. */
import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { InputSpec, Json, Member, OutputSpec, ParamSpec, Stage } from '../../engine/stage.ts';

/** What a stage left behind. `outputs` are absolute paths in a folder that `remove` deletes. */
export interface StageRun {
  readonly outputs: Readonly<Record<string, string>>;
  readonly log: readonly string[];
  readonly measurements: Readonly<Record<string, number | string>>;
}

/** A folder for stage runs; what is kept between tasks is kept between its runs. */
export interface Workshop {
  readonly folder: string;
  readonly retained: string;
  /** @throws whatever the stage throws. Parameters not given take their defaults. */
  run<
    P extends Readonly<Record<string, ParamSpec>>,
    I extends Readonly<Record<string, InputSpec>>,
    O extends Readonly<Record<string, OutputSpec>>,
  >(
    stage: Stage<P, I, O>,
    given?: {
      readonly params?: Readonly<Record<string, Json>>;
      readonly inputs?: Readonly<Record<string, string | Member[]>>;
      readonly signal?: AbortSignal;
      readonly progress?: (done: number, total: number) => void;
    },
  ): Promise<StageRun>;
  remove(): void;
}

/** Opens a new temporary folder. */
export function openWorkshop(): Workshop {
  const folder = mkdtempSync(join(tmpdir(), 'pipe-stage-'));
  const retained = join(folder, 'retained');
  mkdirSync(retained);
  let runs = 0;
  return {
    folder,
    retained,
    async run(stage, given = {}) {
      const home = join(folder, `run-${runs++}`);
      const scratch = join(home, 'scratch');
      mkdirSync(scratch, { recursive: true });
      const defaults = Object.entries(stage.params).flatMap(([name, spec]) =>
        spec.default === undefined ? [] : [[name, spec.default]],
      );
      const outputs = Object.fromEntries(
        Object.entries(stage.outputs).map(([name, { path }]) => [name, join(home, path)]),
      );
      const log: string[] = [];
      const measurements: Record<string, number | string> = {};
      // The engine checks parameters and inputs against the stage's declaration; a test gives what it means to give.
      await stage.run({
        params: { ...Object.fromEntries(defaults), ...given.params } as never,
        inputs: (given.inputs ?? {}) as never,
        outputs: outputs as never,
        device: 'cpu',
        cpus: 1,
        scratch,
        retained,
        signal: given.signal ?? new AbortController().signal,
        log: (line) => void log.push(line),
        warn: (message) => void log.push(message),
        progress: given.progress ?? (() => {}),
        measure: (name, value) => {
          measurements[name] = value;
        },
      });
      return { outputs, log, measurements };
    },
    remove: () => rmSync(folder, { recursive: true, force: true }),
  };
}
