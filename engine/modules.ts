/** Finds stage modules by name, bundles them for the workers, and reads what they declare. */
import { existsSync, mkdirSync, readFileSync, rmSync } from 'node:fs';
import { basename, dirname, isAbsolute, join, relative, resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { type Code, openCodeReader } from './code.ts';
import { type Digester, sha256 } from './digest.ts';
import { UsageError } from './errors.ts';
import type { ResolvedStage, StageResolver } from './graph.ts';
import { identityText, self } from './identity.ts';
import { canonicalJson } from './manifest.ts';
import type { Memo } from './memo.ts';
import type { Project } from './project.ts';
import type { StageInterface } from './stage.ts';
import { namesIn } from './store.ts';
import { writeWhole } from './whole.ts';
import { startWorker, type Worker } from './workers.ts';

export interface Stages extends StageResolver {
  /** The code of a stage module: cheap while its files are unchanged. @throws UsageError when it cannot be built. */
  code(module: string): Promise<Code>;
  /** The module, bundled to JavaScript for a worker to import. @throws UsageError when it cannot be built. */
  bundle(module: string): Promise<string>;
  /** The program that worker processes run. */
  workerEntry(): Promise<string>;
  save(): void;
  /** Stops the helper process that read the interfaces, if one was needed. */
  close(): Promise<void>;
}

/** The last line of a bundle: what is executed must be what was built. */
const endOf = (text: string) => `\n//# sha256=${sha256(text)}\n`;
const endLength = endOf('').length;

/** Whether a bundle is as it was written. */
export function isWholeBundle(text: string): boolean {
  return text.endsWith(endOf(text.slice(0, -endLength)));
}

/** The stages of a project: its own `stages/NAME.ts` first, then those that the package brings. */
export function openStages(project: Project, memo: Memo, digester: Digester): Stages {
  const reader = openCodeReader(project, memo, digester);
  const interfaces = (memo.read('interfaces') ?? {}) as Record<string, StageInterface>;
  const folders = [...new Set([project.root, project.packageRoot])].map((root) => join(root, 'stages'));
  const bundles = new Map<string, Promise<string>>();
  let describer: Promise<Worker> | null = null;
  let describing: Promise<unknown> = Promise.resolve();
  let grew = false;

  const moduleOf = (name: string) =>
    /^[\w-]+$/.test(name)
      ? folders.map((folder) => join(folder, `${name}.ts`)).find((module) => existsSync(module))
      : undefined;

  /** Where a module's bundle lies. It holds addresses of this checkout, so those are part of its name. */
  const bundlePath = (module: string, code: Code) =>
    join(
      project.cache,
      'code',
      `${sha256(canonicalJson([code.digest, module, project.root, project.packageRoot]))}.mjs`,
    );

  async function makeBundle(module: string): Promise<string> {
    const code = await reader.of(module);
    const path = bundlePath(module, code);
    if (existsSync(path) && isWholeBundle(readFileSync(path, 'utf8'))) return path;
    const { text } = await reader.bundleOf(module);
    writeWhole(path, text + endOf(text));
    return path;
  }

  function bundle(module: string): Promise<string> {
    let made = bundles.get(module);
    if (made === undefined) {
      made = makeBundle(module);
      bundles.set(module, made);
    }
    return made;
  }

  async function interfaceOf(name: string, module: string): Promise<ResolvedStage> {
    const { digest } = await reader.of(module);
    let known = interfaces[digest];
    if (known === undefined) {
      known = await readInterface(module);
      interfaces[digest] = known;
      grew = true;
    }
    return { name, module, interface: known };
  }

  /** Imports a module in a helper process, one at a time, and takes what it declares. */
  function readInterface(module: string): Promise<StageInterface> {
    const answer = describing.then(async () => {
      describer ??= startDescriber();
      const found = await (await describer).describe(pathToFileURL(await bundle(module)).href);
      const name = relative(project.root, module);
      if ('problem' in found) throw new UsageError(`${name}: ${found.problem}`);
      // Loaded here: a schema's checker takes longer to be there than a run with nothing to do.
      const { declarationProblems } = await import('./declaration.ts');
      const problems = declarationProblems(found.interface);
      if (problems.length > 0) throw new UsageError(`${name} does not declare a stage:\n  ${problems.join('\n  ')}`);
      return found.interface;
    });
    describing = answer.catch(() => undefined);
    return answer;
  }

  async function startDescriber(): Promise<Worker> {
    const folder = join(project.cache, 'work');
    mkdirSync(folder, { recursive: true });
    return startWorker(await workerEntry(), join(folder, `${identityText(self())}-describe.log`));
  }

  const workerEntry = () => bundle(join(project.packageRoot, 'engine', 'worker.ts'));

  return {
    async resolve(name, from) {
      if (name.startsWith('./') || name.startsWith('../') || isAbsolute(name)) {
        const module = resolve(dirname(resolve(from)), name);
        if (existsSync(module)) return interfaceOf(name, module);
      }
      const module = moduleOf(name);
      if (module !== undefined) return interfaceOf(name, module);
      return { unknown: name, known: knownNames() };
    },
    list: () => Promise.all(knownNames().map((name) => interfaceOf(name, moduleOf(name)!))),
    code: (module) => reader.of(module),
    bundle,
    workerEntry,
    save() {
      reader.save();
      if (grew) memo.write('interfaces', interfaces);
      grew = false;
    },
    async close() {
      if (describer === null) return;
      const helper = await describer;
      describer = null;
      await helper.stop();
      rmSync(helper.log, { force: true });
    },
  };

  function knownNames(): string[] {
    const files = folders.flatMap(namesIn).filter((name) => /^[\w-]+\.ts$/.test(name) && !name.endsWith('.d.ts'));
    return [...new Set(files.map((name) => basename(name, '.ts')))].sort();
  }
}
