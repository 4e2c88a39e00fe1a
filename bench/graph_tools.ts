/**
 * Tools that run a graph of commands, each with the same graph in its own words: half of the tasks write a number into a file,
 * the others copy one such file each.
 */
import { execFileSync } from 'node:child_process';
import { chmodSync, existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { axesText, shapeOf } from './engine_project.ts';

/** A tool that is ready: how to lay out the graph, and what to start. */
export interface GraphTool {
  readonly name: string;
  /** By what it tells that a file has changed. */
  readonly judges: 'content' | 'time';
  /** The largest graph that it is asked for. */
  readonly most: number;
  /** Writes the graph of `tasks` tasks into a folder. */
  layOut(folder: string, tasks: number): void;
  /** The command that makes everything with two jobs, and its variables. */
  readonly command: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
}

export type Readied = GraphTool | { readonly name: string; readonly skipped: string };

const root = join(import.meta.dirname, '..');
/** Where peers are installed: ignored by git. */
const installed = join(root, 'build', 'peers');

/** Readies the tools, this project's first: what is not installed here is, from PyPI and npm, in versions that are fixed. */
export function readyTools(): Readied[] {
  const python = (name: string, version: string) => {
    const program = join(installed, name, 'bin', name);
    if (!existsSync(program)) {
      execFileSync('python3', ['-m', 'venv', join(installed, name)], { stdio: 'pipe' });
      const pip = join(installed, name, 'bin', 'pip');
      const words = ['install', '--quiet', '--disable-pip-version-check', `${name}==${version}`];
      // Snakemake 7 does not run with a newer PuLP, and does not say so.
      execFileSync(pip, name === 'snakemake' ? [...words, 'pulp==2.7.0'] : words, { stdio: 'pipe' });
    }
    return program;
  };
  return [
    pipeTool(),
    attempt('ninja', () => ninja(python('ninja', '1.11.1.1'))),
    attempt('doit', () => doit(python('doit', '0.36.0'))),
    attempt('turbo', turbo),
    attempt('snakemake', () => snakemake(python('snakemake', '7.32.4'))),
  ];
}

function attempt(name: string, ready: () => GraphTool): Readied {
  try {
    return ready();
  } catch (thrown) {
    const { stderr, message } = thrown as Error & { readonly stderr?: Buffer };
    const said = stderr?.toString().trim().split('\n').at(-1);
    return { name, skipped: `it could not be installed: ${said || message.split('\n')[0]}` };
  }
}

const numbers = (tasks: number) => Array.from({ length: tasks / 2 }, (_, n) => n);

function pipeTool(): GraphTool {
  return {
    name: 'pipe',
    judges: 'content',
    most: 10_000,
    command: [process.execPath, join(root, 'dist', 'pipe.mjs'), 'run', '-j', '2'],
    layOut(folder, tasks) {
      const axes = axesText(shapeOf(tasks / 2));
      mkdirSync(join(folder, 'pipelines'));
      writeFileSync(
        join(folder, 'pipelines', 'bench.yaml'),
        `name: bench
stages:
  leaf:
    run: echo \${{ matrix.a }}-\${{ matrix.b }} > {{out:file}}
    shell: true
    matrix: ${axes}
    out: { file: leaf.txt }
  copy:
    run: [cp, "{{in:from}}", "{{out:file}}"]
    matrix: ${axes}
    in: { from: leaf.file }
    out: { file: copy.txt }
`,
      );
    },
  };
}

function ninja(program: string): GraphTool {
  return {
    name: 'ninja',
    judges: 'time',
    most: 10_000,
    command: [program, '-j', '2', '--quiet'],
    layOut(folder, tasks) {
      const rules = 'rule leaf\n  command = echo $n > $out\nrule copy\n  command = cp $in $out\n';
      const builds = numbers(tasks).map((n) => `build leaf/${n}: leaf\n  n = ${n}\nbuild copy/${n}: copy leaf/${n}\n`);
      writeFileSync(join(folder, 'build.ninja'), rules + builds.join(''));
    },
  };
}

function doit(program: string): GraphTool {
  return {
    name: 'doit',
    judges: 'content',
    most: 10_000,
    command: [program, '--verbosity', '0', '-n', '2'],
    layOut(folder, tasks) {
      for (const name of ['leaf', 'copy']) mkdirSync(join(folder, name));
      writeFileSync(
        join(folder, 'dodo.py'),
        `DOIT_CONFIG = {'reporter': 'zero'}
def task_leaf():
    for n in range(${tasks / 2}):
        yield {'name': str(n), 'actions': [f'echo {n} > leaf/{n}'], 'targets': [f'leaf/{n}'], 'uptodate': [True]}
def task_copy():
    for n in range(${tasks / 2}):
        yield {'name': str(n), 'actions': [f'cp leaf/{n} copy/{n}'], 'file_dep': [f'leaf/{n}'], 'targets': [f'copy/{n}']}
`,
      );
    },
  };
}

/** One package for each pair of tasks. A stub stands for npm: it runs the script at once, which is turbo's own cost and not npm's. */
function turbo(): GraphTool {
  const home = join(installed, 'turbo');
  const program = join(home, 'node_modules', '.bin', 'turbo');
  if (!existsSync(program)) {
    mkdirSync(home, { recursive: true });
    writeFileSync(join(home, 'package.json'), '{"private":true}');
    execFileSync('npm', ['install', '--no-audit', '--no-fund', '--no-save', 'turbo@2.5.8'], {
      cwd: home,
      stdio: 'pipe',
    });
  }
  const stub = join(home, 'stub');
  mkdirSync(stub, { recursive: true });
  const script =
    '#!/bin/sh\ncase "$2" in\nleaf) echo "${PWD##*/}" > leaf.txt ;;\ncopy) cp leaf.txt copy.txt ;;\n*) echo 10.0.0 ;;\nesac\n';
  writeFileSync(join(stub, 'npm'), script);
  chmodSync(join(stub, 'npm'), 0o755);
  return {
    name: 'turbo',
    judges: 'content',
    most: 10_000,
    command: [program, 'run', 'leaf', 'copy', '--concurrency=2', '--output-logs=none', '--no-daemon'],
    env: { PATH: `${stub}:${process.env.PATH ?? ''}`, TURBO_TELEMETRY_DISABLED: '1', DO_NOT_TRACK: '1' },
    layOut(folder, tasks) {
      const json = (path: string, value: object) => writeFileSync(join(folder, path), JSON.stringify(value));
      json('package.json', { name: 'bench', private: true, packageManager: 'npm@10.0.0', workspaces: ['packages/*'] });
      json('package-lock.json', { name: 'bench', lockfileVersion: 3, packages: {} });
      json('turbo.json', {
        tasks: { leaf: { outputs: ['leaf.txt'] }, copy: { dependsOn: ['leaf'], outputs: ['copy.txt'] } },
      });
      writeFileSync(join(folder, '.gitignore'), 'leaf.txt\ncopy.txt\n.turbo\nnode_modules\n');
      for (const n of numbers(tasks)) {
        mkdirSync(join(folder, 'packages', `p${n}`), { recursive: true });
        json(`packages/p${n}/package.json`, {
          name: `p${n}`,
          version: '1.0.0',
          scripts: { leaf: 'leaf', copy: 'copy' },
        });
      }
    },
  };
}

function snakemake(program: string): GraphTool {
  return {
    name: 'snakemake',
    judges: 'content',
    most: 1000,
    command: [program, '--cores', '2', '--quiet', 'all'],
    layOut(folder, tasks) {
      writeFileSync(
        join(folder, 'Snakefile'),
        `rule all:
    input: expand("copy/{n}", n=range(${tasks / 2}))
rule leaf:
    output: "leaf/{n}"
    shell: "echo {wildcards.n} > {output}"
rule copy:
    input: "leaf/{n}"
    output: "copy/{n}"
    shell: "cp {input} {output}"
`,
      );
    },
  };
}
