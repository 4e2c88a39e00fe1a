/** The documentation is true: its pipelines load, its commands parse, its sessions run, its stages compile, its links lead somewhere. */
import { execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, symlinkSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { buildProgram } from '../cli/program.ts';
import { openForLook, type RequestOptions } from '../cli/request.ts';
import { PipelineError } from '../engine/diagnostics.ts';
import { FUNCTIONS } from '../engine/functions.ts';
import { loadGraph } from '../engine/load.ts';
import { selectTasks } from '../engine/select.ts';
import { openWorkspace, type Workspace } from '../engine/workspace.ts';
import {
  anchors,
  type Block,
  documentation,
  normalised,
  type Page,
  relativeLinks,
  repository,
  session,
  shownCommands,
} from './support/documents.ts';

const pages = documentation();
let root: string;
let workspace: Workspace;

/** Everything that a page gives a path, in one project with the pipelines of the repository; `pipe` on its PATH. */
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'pipe-docs-'));
  write('package.json', '{ "type": "module" }');
  cpSync(join(repository, 'pipelines'), join(root, 'pipelines'), { recursive: true });
  cpSync(join(repository, 'README.md'), join(root, 'README.md'));
  mkdirSync(join(root, 'bin'));
  symlinkSync(join(repository, 'dist/pipe.mjs'), join(root, 'bin/pipe'));
  // What a stage's test imports.
  mkdirSync(join(root, 'test'));
  for (const folder of ['test/support', 'engine', 'node_modules'])
    symlinkSync(join(repository, folder), join(root, folder));
  for (const { settings, text } of pages.flatMap(({ blocks }) => blocks))
    if (settings.file !== undefined) write(settings.file, text);
  workspace = openWorkspace(root);
});

afterAll(async () => {
  await workspace.close();
  rmSync(root, { recursive: true, force: true });
});

function write(path: string, text: string): void {
  mkdirSync(dirname(join(root, path)), { recursive: true });
  writeFileSync(join(root, path), text);
}

function shell(command: string, cwd: string): string {
  const env = { ...process.env, CI: '1', PATH: `${join(root, 'bin')}:${process.env.PATH}` };
  return execFileSync('sh', ['-c', `${command} 2>&1`], { cwd, env, encoding: 'utf8' });
}

/** Loads a block as a pipeline of the project. */
async function load({ settings, text, line }: Block, path: string) {
  const file = settings.file ?? `pipelines/${path.replaceAll(/\W/g, '-')}-${line}.yaml`;
  if (settings.file === undefined) write(file, text);
  return (await loadGraph({ file, root, resolver: workspace.stages })).graph;
}

const blocksOf = (language: string) =>
  pages.flatMap(({ path, blocks }) =>
    blocks.flatMap((block, at) =>
      block.language === language ? [{ where: `${path}:${block.line}`, path, block, next: blocks[at + 1] }] : [],
    ),
  );

describe('every pipeline loads with the real stages', () => {
  test.each(blocksOf('yaml'))('$where', async ({ path, block, next }) => {
    if (block.words.has('excerpt')) {
      expect(parse(block.text)).toBeTypeOf('object');
      return;
    }
    if (block.words.has('refused')) {
      write('pipelines/example.yaml', block.text);
      const refused = loadGraph({ file: 'pipelines/example.yaml', root, resolver: workspace.stages });
      const error = await refused.catch((thrown: unknown) => thrown);
      expect(error).toBeInstanceOf(PipelineError);
      expect((error as PipelineError).message).toBe(next!.text.trimEnd());
      return;
    }
    const graph = await load(block, path);
    expect(graph.tasks.length).toBeGreaterThan(0);
    const stage = next?.settings.tasks;
    if (stage === undefined) return;
    const ids = graph.tasks.filter((task) => task.stage === stage).map(({ id }) => id);
    expect(ids).toEqual(next!.text.trimEnd().split('\n'));
  });
});

/** A command as the command line understood it. */
interface Heard {
  readonly name: string;
  readonly args: readonly unknown[];
}

/** Parses a command with the real command line; nothing is run. @throws when it is refused */
async function heard(words: readonly string[]): Promise<Heard> {
  const program = buildProgram(() => undefined).configureOutput({ writeErr: () => undefined });
  let found: Heard | null = null;
  for (const command of program.commands) {
    command.configureOutput({ writeErr: () => undefined });
    command.action((...args: unknown[]) => {
      found = { name: command.name(), args: args.slice(0, -1) };
    });
  }
  await program.parseAsync([...words], { from: 'user' });
  if (found === null) throw new Error(`no command: ${words.join(' ')}`);
  return found;
}

/** The words that a shell makes of a command; it expands no pattern. */
function wordsOf(command: string): readonly string[] {
  return execFileSync('sh', ['-fc', `printf '%s\\0' ${command}`], { encoding: 'utf8' })
    .split('\0')
    .slice(0, -1);
}

describe('every command is understood', () => {
  const commands = pages.flatMap(shownCommands);

  test.each(commands)('$where: $command', async ({ command }) => {
    // What stands for something else, such as [FILE] or TASK, is left out; --help is an exception of its own.
    const isPattern = /\b[A-Z]{3,}\b|\.\.\.|--help/.test(command);
    const words = wordsOf(command).slice(1);
    // Hidden ones too, and `help`, which is the command line's own.
    const { commands: known } = buildProgram(() => undefined);
    expect(['help', ...known.map((target) => target.name())]).toContain(words[0]);
    if (isPattern) return;
    // In a sentence a command may stand by its name alone.
    if (words.length === 1) return;
    const { name, args } = await heard(words);
    const options = args.at(-1) as RequestOptions;
    const [first, second] = args as [unknown, unknown];
    const files = name === 'why' ? [second, first] : name === 'dag' ? [first] : [first].flat();
    if (!['run', 'status', 'why', 'dag'].includes(name) || typeof files[0] !== 'string') return;
    const given = files as string[];
    const { graph, targets } = await openForLook(workspace, given, options);
    expect(() => selectTasks(graph, targets)).not.toThrow();
  });

  test('the README names every command', () => {
    const { prose } = pages.find(({ path }) => path === 'README.md')!;
    const program = buildProgram(() => undefined);
    for (const name of program
      .createHelp()
      .visibleCommands(program)
      .map((command) => command.name()))
      expect(prose).toContain(`\`pipe ${name}`);
  });
});

describe('every session gives what is shown', () => {
  const sessions = blocksOf('console').filter(({ block }) => block.settings.in !== undefined);
  const folders = [...new Set(sessions.map(({ path, block }) => `${path} ${block.settings.in}`))];

  test.each(folders)('%s', (folder) => {
    const [path, name] = folder.split(' ') as [string, string];
    const home = join(root, `session-${path.replaceAll(/\W/g, '-')}`);
    mkdirSync(home);
    shell(`pipe init ${name}`, home);
    for (const { where, block } of sessions) {
      if (!where.startsWith(`${path}:`) || block.settings.in !== name) continue;
      for (const { command, output } of session(block)) {
        const cwd = join(home, name);
        expect(`$ ${command}\n${normalised(shell(command, cwd))}`).toBe(`$ ${command}\n${normalised(output)}`);
      }
    }
  });
});

describe('the stages of the documentation', () => {
  test('compile under the rules of this project', () => {
    const stages = blocksOf('ts').filter(({ block }) => block.settings.file !== undefined);
    expect(stages.length).toBeGreaterThan(0);
    const compilerOptions = {
      paths: { 'pipe/stage': [join(repository, 'engine/stage.ts')] },
      typeRoots: [join(repository, 'node_modules/@types')],
    };
    const include = stages.map(({ block }) => block.settings.file!);
    write('tsconfig.json', JSON.stringify({ extends: join(repository, 'tsconfig.json'), compilerOptions, include }));
    expect(shell(`${join(repository, 'node_modules/.bin/tsc')} -p ${root} || true`, root)).toBe('');
  });

  test('pass the test that is shown with them', () => {
    const alias = { 'pipe/stage': join(repository, 'engine/stage.ts') };
    write(
      'vitest.config.mjs',
      `export default ${JSON.stringify({ resolve: { alias }, test: { include: ['test/*.test.ts'] } })};`,
    );
    expect(shell(`${join(repository, 'node_modules/.bin/vitest')} run --root ${root}`, root)).toContain('1 passed');
  });

  test('that of the README counts the words of the README', () => {
    shell('pipe run words', root);
    const words = readFileSync(join(root, 'README.md'), 'utf8').split(/\s+/).filter(Boolean);
    for (const longer of [0, 4, 8]) {
      const counted = Number(readFileSync(join(root, `results/words/words-${longer}.txt`), 'utf8'));
      expect(counted).toBe(words.filter(({ length }) => length > longer).length);
    }
  });
});

describe('every link leads to a file and a heading that exist', () => {
  test.each(pages)('$path', (page) => {
    for (const link of relativeLinks(page)) {
      const [target, anchor] = link.split('#') as [string, string | undefined];
      const path = target === '' ? page.path : join(dirname(page.path), target);
      expect(existsSync(join(repository, path)), `${page.path} links to ${link}`).toBe(true);
      if (anchor === undefined) continue;
      const linked = pages.find((other: Page) => other.path === path);
      expect(linked === undefined ? [] : anchors(linked), `${page.path} links to ${link}`).toContain(anchor);
    }
  });
});

test('the page on pipelines names every key of the schema and every function', () => {
  const text = readFileSync(join(repository, 'docs/writing-pipelines.md'), 'utf8');
  const schema = JSON.parse(readFileSync(join(repository, 'engine/pipeline.schema.json'), 'utf8'));
  const keys = [...Object.keys(schema.properties), ...Object.keys(schema.definitions.stage.properties)];
  for (const key of keys) expect(text).toContain(`\`${key}\``);
  for (const name of Object.keys(FUNCTIONS)) expect(text).toContain(`\`${name}(`);
});

test('editors get the schema for the pipelines', () => {
  const settings = JSON.parse(readFileSync(join(repository, '.vscode/settings.json'), 'utf8'));
  const [[schema, patterns]] = Object.entries(settings['yaml.schemas']) as [[string, string[]]];
  expect(existsSync(join(repository, schema))).toBe(true);
  expect(patterns).toContain('pipelines/*.yaml');
  for (const name of ['layer-sensitivity', 'pretrain-tiny']) {
    const [first] = readFileSync(join(repository, `pipelines/${name}.yaml`), 'utf8').split('\n');
    const line = /^# yaml-language-server: \$schema=(.*)$/.exec(first!);
    expect(join('pipelines', line?.[1] ?? '')).toBe(schema.slice(2));
  }
});
