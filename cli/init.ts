/** `pipe init`: writes a small project that works. */
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { dirname, join, relative, resolve } from 'node:path';
import { UsageError } from '../engine/errors.ts';
import { shellWord } from '../engine/shell_word.ts';
import { print, printJson } from './text.ts';

export interface InitOptions {
  readonly json?: true;
}

/** The files of the project: a pipeline with a matrix and a fan-in, and the stage module that it uses. */
const FILES: Readonly<Record<string, string>> = {
  'pipelines/primes.yaml': `# How thin do the primes get? Run it with: pipe run
name: primes
description: The share of primes below growing limits

params:
  limits: [1000, 10000, 100000]

profiles:
  quick: { limits: [100, 1000] }

stages:
  # One task for each limit. Its code is stages/sieve.ts.
  sieve:
    uses: sieve
    matrix: { limit: '\${{ params.limits }}' }
    with: { limit: '\${{ matrix.limit }}' }

  # Takes the results of all of them. A command is given their paths: here, and in the variable PIPE_IN_rows.
  table:
    run: sort -n \${{ in.rows }} -o \${{ out.table }}
    in: { rows: { all: sieve.row } }
    out: { table: table.txt }

publish:
  table.txt: table.table
`,
  'stages/sieve.ts': `/** Counts the primes below a limit. */
import { writeFileSync } from 'node:fs';
import { defineStage } from 'pipe/stage';

export default defineStage({
  description: 'Counts the primes below a limit.',
  params: { limit: { type: 'integer', description: 'Numbers below this are looked at.', minimum: 2 } },
  inputs: {},
  outputs: { row: { description: 'The limit and the share of primes.', path: 'row.txt' } },
  run({ params, outputs, log, progress }) {
    const isComposite = new Uint8Array(params.limit);
    let primes = 0;
    for (let n = 2; n < params.limit; n++) {
      if (isComposite[n]) continue;
      primes += 1;
      for (let multiple = n * n; multiple < params.limit; multiple += n) isComposite[multiple] = 1;
      progress(n, params.limit);
    }
    log(\`\${primes} primes below \${params.limit}\`);
    writeFileSync(outputs.row, \`\${params.limit} \${(primes / params.limit).toFixed(4)}\\n\`);
  },
});
`,
  '.gitignore': 'node_modules/\ncache/\nresults/\n',
  'package.json': `${JSON.stringify({ name: 'experiment', private: true, type: 'module' }, null, 2)}\n`,
  // For editors and `tsc`: pipe itself reads no tsconfig.json.
  'tsconfig.json': `{
  "compilerOptions": {
    "strict": true,
    "noEmit": true,
    "module": "nodenext",
    "target": "es2023",
    "types": ["node"],
    "allowImportingTsExtensions": true,
    "skipLibCheck": true
  },
  "include": ["stages"]
}
`,
};

/** What stays as it is where it is there already. */
const KEPT = ['.gitignore', 'package.json', 'tsconfig.json'];

/** @throws UsageError when a file that it would write is there already. */
export async function init(folder: string | undefined, options: InitOptions): Promise<number> {
  const root = resolve(folder ?? '.');
  const files = Object.fromEntries(
    Object.entries(FILES).filter(([path]) => !(KEPT.includes(path) && existsSync(join(root, path)))),
  );
  const present = Object.keys(files).filter((path) => existsSync(join(root, path)));
  if (present.length > 0)
    throw new UsageError(
      `${present.join(' and ')} ${present.length === 1 ? 'is' : 'are'} there already\n  choose another folder: pipe init FOLDER`,
    );
  for (const [path, text] of Object.entries(files)) {
    mkdirSync(dirname(join(root, path)), { recursive: true });
    writeFileSync(join(root, path), text);
  }
  if (options.json) {
    printJson({ root, files: Object.keys(files) });
    return 0;
  }
  const enter = relative(process.cwd(), root);
  for (const path of Object.keys(files)) print(`wrote ${join(enter, path)}`);
  print(`\nRun it:  ${enter === '' ? '' : `cd ${shellWord(enter)} && `}pipe run`);
  print('then change stages/sieve.ts, and ask:  pipe status');
  return 0;
}
