/** The small pipeline that meets the faults, what must come out of it, and the state of its cache as an outsider sees it. */
import { createHash } from 'node:crypto';
import { cpSync, existsSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { join, relative } from 'node:path';
import { expect } from 'vitest';
import type { TaskRecord } from '../../engine/record.ts';
import type { RunRecord } from '../../engine/runs.ts';
import {
  type CommandProject,
  eventsIn,
  leftovers,
  openProjectFolder,
  repository,
  type Told,
} from '../support/checkout.ts';

export const command = join(repository, 'dist', 'pipe.mjs');

const stage = `import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { defineStage } from 'pipe/stage';
export default defineStage({
  description: 'Adds words to a text; gives the text, and a folder with copies of it.',
  params: { words: { type: 'string', description: 'what is added' } },
  inputs: { from: { description: 'the text' } },
  outputs: { text: { description: 'the text', path: 'text.txt' }, folder: { description: 'copies', path: 'folder' } },
  run({ params, inputs, outputs, log }) {
    log('adding ' + params.words);
    const text = readFileSync(inputs.from, 'utf8') + params.words + '\\n';
    mkdirSync(outputs.folder + '/deep/empty', { recursive: true });
    writeFileSync(outputs.folder + '/deep/copy.txt', text);
    writeFileSync(outputs.folder + '/length.txt', String(text.length));
    writeFileSync(outputs.text, text);
  },
});
`;

const pipeline = `name: relay
params: { suffix: '' }
stages:
  seed:
    uses: add
    matrix: { n: [1, 2] }
    in: { from: { file: data/raw.txt } }
    with: { words: 'seed \${{ matrix.n }}\${{ params.suffix }}' }
  joined:
    run: cat \${{ in.parts }} > \${{ out.text }}
    shell: true
    in: { parts: { all: seed.text } }
    out: { text: joined.txt }
  last:
    uses: add
    in: { from: joined.text }
    with: { words: last }
publish:
  texts/\${{ matrix.n }}.txt: seed.text
  folders/\${{ matrix.n }}: seed.folder
  joined.txt: joined.text
  last: last.folder
`;

export const taskIds = ['seed[n=1]', 'seed[n=2]', 'joined', 'last'] as const;

/** Path below results/relay/ -> content, computed here and not by the pipeline. */
export function expectedResults(raw = 'raw\n', suffix = ''): Record<string, string> {
  const seeds = [1, 2].map((n) => `${raw}seed ${n}${suffix}\n`);
  const joined = seeds.join('');
  const last = `${joined}last\n`;
  const folder = (name: string, text: string) => ({
    [`${name}/deep/copy.txt`]: text,
    [`${name}/length.txt`]: String(text.length),
  });
  return {
    'texts/1.txt': seeds[0]!,
    'texts/2.txt': seeds[1]!,
    ...folder('folders/1', seeds[0]!),
    ...folder('folders/2', seeds[1]!),
    'joined.txt': joined,
    ...folder('last', last),
  };
}

export interface Subject extends CommandProject {
  readonly cache: string;
  /** Makes the cache and the results as they were when the state was kept. */
  restore(state: string): void;
  /** Keeps the cache and the results as they are now under a name. */
  keep(state: string): void;
}

/** The project, with its stages bundled and nothing executed: the state `new`; and, executed once, the state `done`. */
export async function openSubject(): Promise<Subject> {
  const project = openProjectFolder({
    'pipelines/relay.yaml': pipeline,
    'stages/add.ts': stage,
    'data/raw.txt': 'raw\n',
  });
  const at = (state: string, folder: string) => join(project.root, '.states', state, folder);
  const folders = ['cache', 'results'];
  const subject: Subject = {
    ...project,
    cache: join(project.root, 'cache'),
    keep(state) {
      for (const folder of folders) copyFolder(join(project.root, folder), at(state, folder));
    },
    restore(state) {
      for (const folder of folders) {
        rmSync(join(project.root, folder), { recursive: true, force: true });
        copyFolder(at(state, folder), join(project.root, folder));
      }
    },
  };
  // Files younger than the clock's grain are read again each time: not what is looked at here.
  await new Promise((resolve) => setTimeout(resolve, 150));
  const first = await subject.run(['relay']);
  expect(first).toMatchObject({ code: 0, executed: [...taskIds].sort() });
  expectResults(subject);
  // What was learnt by now, stages bundled, is kept for the state in which nothing is executed.
  await subject.run(['relay']);
  subject.keep('done');
  for (const name of readdirSync(subject.cache)) {
    if (name !== 'memo' && name !== 'code') rmSync(join(subject.cache, name), { recursive: true, force: true });
  }
  rmSync(join(subject.cache, 'memo/catalog.json'), { force: true });
  rmSync(join(project.root, 'results'), { recursive: true, force: true });
  subject.keep('new');
  return subject;
}

function copyFolder(from: string, to: string): void {
  if (existsSync(from)) cpSync(from, to, { recursive: true, preserveTimestamps: true });
}

/** The published files are what must come out, no more and no less. */
export function expectResults(subject: CommandProject, expected = expectedResults()): void {
  expect(filesBelow(join(subject.root, 'results/relay'))).toEqual(expected);
}

/** Path -> content of the visible files below a folder. */
export function filesBelow(folder: string): Record<string, string> {
  if (!existsSync(folder)) return {};
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return Object.fromEntries(
    files
      .map(({ parentPath, name }) => join(parentPath, name))
      .filter((path) => !relative(folder, path).startsWith('.'))
      .map((path) => [relative(folder, path), readFileSync(path, 'utf8')]),
  );
}

/**
 * The records whose every blob is there, read without the engine.
 * Fails if a blob is not what its name says, or if a record names one that is missing though none was put aside as damaged.
 */
export function soundRecords(cache: string): TaskRecord[] {
  const sound = new Set<string>();
  for (const path of storedFiles(join(cache, 'cas'))) {
    const digest = createHash('sha256').update(readFileSync(path)).digest('hex');
    expect(path.endsWith(digest), `${path} has the digest ${digest}`).toBe(true);
    sound.add(digest);
  }
  const records = storedFiles(join(cache, 'ac')).map((path) => JSON.parse(readFileSync(path, 'utf8')) as TaskRecord);
  const whole = records.filter((record) => blobsOf(cache, record).every((digest) => sound.has(digest)));
  if (!existsSync(join(cache, 'quarantine'))) expect(whole).toEqual(records);
  return whole;
}

/** The blobs that a record stands on, as far as its folders' listings are there. */
export function blobsOf(cache: string, { outputs, log, manifest }: TaskRecord): string[] {
  const digests = new Set([log]);
  if (manifest.code !== null) digests.add(manifest.code);
  for (const { kind, digest } of Object.values(outputs)) {
    digests.add(digest);
    const path = join(cache, 'cas', digest.slice(0, 2), digest);
    if (kind !== 'folder' || !existsSync(path)) continue;
    const { entries } = JSON.parse(readFileSync(path, 'utf8')) as { entries: [string, string | null, number][] };
    for (const [, file] of entries) if (file !== null) digests.add(file);
  }
  return [...digests];
}

/** A run whose file says that it has ended has the end of each task that it executed in its journal. */
export function expectWholeJournals(cache: string): void {
  for (const path of storedFiles(join(cache, 'runs')).filter((name) => name.endsWith('.json'))) {
    const { status, tasks } = JSON.parse(readFileSync(path, 'utf8')) as RunRecord;
    if (status === 'running') continue;
    const journal = path.replace(/json$/, 'events');
    const told = eventsIn(existsSync(journal) ? readFileSync(journal, 'utf8') : '');
    const executed = Object.keys(tasks).filter((task) => tasks[task]!.outcome === 'executed');
    expect(told.flatMap((event) => (event.type === 'task-done' ? event.task : [])).sort()).toEqual(executed.sort());
  }
}

export function storedFiles(folder: string): string[] {
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { recursive: true, encoding: 'utf8' })
    .map((name) => join(folder, name))
    .filter((path) => statSync(path).isFile());
}

/**
 * The next run after a fault: it needs no unlocking, redoes nothing that was finished, and ends with everything right.
 * @returns what it told.
 */
export async function recover(subject: Subject, expected = expectedResults()): Promise<Told> {
  const finished = soundRecords(subject.cache).map(({ task }) => task);
  const told = await subject.run(['relay']);
  expect(told, told.stderr).toMatchObject({ code: 0 });
  expect(told.executed.filter((task) => finished.includes(task))).toEqual([]);
  expectResults(subject, expected);
  expect(soundRecords(subject.cache).length).toBeGreaterThanOrEqual(taskIds.length);
  if (told.executed.length > 0) expect(leftovers(subject.root)).toEqual([]);
  return told;
}
