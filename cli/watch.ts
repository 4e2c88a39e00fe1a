/** `pipe watch`: runs a pipeline, and again whenever something that it depends on is edited. */
import { existsSync } from 'node:fs';
import { join, relative } from 'node:path';
import { setTimeout as delay } from 'node:timers/promises';
import { type FSWatcher, watch as watchFiles } from 'chokidar';
import { outsideFiles } from '../engine/assess.ts';
import { openProject } from '../engine/project.ts';
import { reportError } from './failure.ts';
import { interruptible } from './interruption.ts';
import { openForRun, withWorkspace } from './request.ts';
import { type RunCommandOptions, run } from './run.ts';
import { count, paint, print } from './text.ts';

/** How long nothing may be edited before a run begins: an editor, or a checkout, writes more than one file. */
const quietMs = 150;

/**
 * Runs, and goes on until it is interrupted. An edit during a run is seen when the run is over: what was running is not lost.
 * A file that is wrong is reported, and waited for.
 * @returns 0
 */
export async function watch(args: readonly string[], options: RunCommandOptions): Promise<number> {
  const { root } = openProject(process.cwd());
  const interruption = interruptible();
  const { signal } = interruption;
  const edits = new Edits(['pipelines', 'stages'].map((folder) => join(root, folder)));
  try {
    await edits.add(await dependencies(args, options));
    for (let edited: readonly string[] = []; ; edited = await edits.next(signal)) {
      if (signal.aborted) return 0;
      if (edited.length > 0) print(paint('cyan', `edited: ${namesOf(edited, root)}`));
      try {
        await run(args, options);
      } catch (error) {
        await reportError(error, false);
      }
      if (signal.aborted) return 0;
      await edits.add(await dependencies(args, options));
      print(paint('dim', `watching ${count(edits.size, 'path')}; Ctrl-C ends`));
    }
  } finally {
    interruption.end();
    await edits.close();
  }
}

function namesOf(paths: readonly string[], root: string): string {
  const names = paths.map((path) => relative(root, path)).sort();
  return names.length > 5 ? `${names.slice(0, 4).join(', ')} and ${names.length - 4} more` : names.join(', ');
}

/** What the pipeline reads besides itself: files of its stages' code, and files that no task makes. None while it is wrong. */
async function dependencies(args: readonly string[], options: RunCommandOptions): Promise<readonly string[]> {
  try {
    return await withWorkspace(async (workspace) => {
      const { graph } = await openForRun(workspace, args, options);
      const { root, packageRoot } = workspace.project;
      const found = new Set(graph.tasks.flatMap((task) => outsideFiles(task).map(([, path]) => path)));
      const modules = new Set(graph.tasks.flatMap(({ action }) => (action.kind === 'uses' ? [action.module] : [])));
      for (const module of modules) {
        for (const name of Object.keys((await workspace.stages.code(module)).listing)) {
          if (name.startsWith('npm:')) continue;
          found.add(name.startsWith('pipe:') ? join(packageRoot, name.slice('pipe:'.length)) : join(root, name));
        }
      }
      return [...found];
    });
  } catch {
    // The run says what is wrong.
    return [];
  }
}

/** Paths that were edited since they were last asked for. */
class Edits {
  readonly #watcher: FSWatcher;
  readonly #known = new Set<string>();
  readonly #ready: Promise<void>;
  #edited = new Set<string>();
  #wake: () => void = () => undefined;

  constructor(folders: readonly string[]) {
    const there = folders.filter((folder) => existsSync(folder));
    this.#watcher = watchFiles(there, { ignoreInitial: true });
    for (const folder of there) this.#known.add(folder);
    this.#ready = new Promise((resolve) => this.#watcher.once('ready', () => resolve()));
    this.#watcher.on('all', (_, path) => {
      this.#edited.add(path);
      this.#wake();
    });
  }

  get size(): number {
    return this.#known.size;
  }

  async add(paths: readonly string[]): Promise<void> {
    await this.#ready;
    const fresh = paths.filter((path) => !this.#known.has(path));
    for (const path of fresh) this.#known.add(path);
    if (fresh.length > 0) this.#watcher.add(fresh);
  }

  /** Waits for edits, and until there are no more for a moment. @returns them; none when the signal aborts. */
  async next(signal: AbortSignal): Promise<readonly string[]> {
    const stopped = new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
    for (let before = -1; before !== this.#edited.size || before <= 0; ) {
      if (signal.aborted) return [];
      before = this.#edited.size;
      const edited = new Promise<void>((resolve) => {
        this.#wake = resolve;
      });
      await (before === 0 ? Promise.race([edited, stopped]) : delay(quietMs));
    }
    const edited = [...this.#edited];
    this.#edited = new Set();
    return edited;
  }

  close(): Promise<void> {
    return this.#watcher.close();
  }
}
