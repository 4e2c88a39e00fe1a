/** From a pipeline file to its graph: params, profiles, includes, matrices, joins, commands and publication. */
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import type { Graph, Task } from '../engine/graph.ts';
import { loadGraph } from '../engine/load.ts';
import { graphOf, load, projectWith, resolver } from './support/language.ts';

function task(graph: Graph, id: string): Task {
  const found = graph.tasks.find((candidate) => candidate.id === id);
  if (found === undefined) throw new Error(`no ${id} in ${graph.tasks.map((t) => t.id).join(' ')}`);
  return found;
}

const ids = (graph: Graph) => graph.tasks.map(({ id }) => id);

const study = `
name: study
params: { seeds: [1, 2], steps: 20, nested: { lr: 0.1, more: { deep: true } } }
profiles: { quick: { seeds: [7] } }
stages:
  data: { uses: download, with: { from: data/records.json } }
  train:
    uses: train
    matrix: { precision: [bf16, nf4], seed: '\${{ params.seeds }}' }
    in: { data: data.file }
    with: { precision: '\${{ matrix.precision }}', lr: '\${{ params.nested.lr }}' }
  compare: { uses: compare, in: { evals: { all: train.model } } }
publish:
  tables: compare.tables
  'curves/\${{ matrix.precision }}-\${{ matrix.seed }}.csv': { from: train.curve }
`;

describe('a graph', () => {
  it('is plain data: it survives JSON', async () => {
    const { graph } = await load(study);
    expect(JSON.parse(JSON.stringify(graph))).toEqual(graph);
  });

  it('holds a task for each combination, in topological order, with its place in the file', async () => {
    const graph = await graphOf(study);
    expect(ids(graph)).toEqual([
      'data',
      'train[precision=bf16,seed=1]',
      'train[precision=bf16,seed=2]',
      'train[precision=nf4,seed=1]',
      'train[precision=nf4,seed=2]',
      'compare',
    ]);
    expect(task(graph, 'train[precision=nf4,seed=2]')).toEqual({
      id: 'train[precision=nf4,seed=2]',
      stage: 'train',
      axes: { precision: 'nf4', seed: 2 },
      action: { kind: 'uses', stage: 'train', module: '/stages/train.ts' },
      params: { rank: 8, lr: 0.1, targets: ['q', 'v'], precision: 'nf4', dropout: false },
      sources: [],
      env: {},
      environment: [],
      secrets: [],
      inputs: { data: { kind: 'artifact', task: 'data', artifact: 'file' } },
      outputs: { model: 'model', curve: 'curve.csv' },
      needs: [],
      timeoutSeconds: null,
      retry: 0,
      device: 'cpu',
      resources: { cpu: 1, gpu: 0, memory: 0 },
      location: { file: 'p.yaml', line: 7, column: 3 },
    });
  });

  it('makes a local source absolute and leaves a URL as it is', async () => {
    const graph = await graphOf(study);
    expect(task(graph, 'data')).toMatchObject({
      params: { from: join(graph.root, 'data/records.json'), sha256: '' },
      sources: ['from'],
    });
    const remote = await graphOf('stages: { data: { uses: download, with: { from: "hf://openai-community/gpt2" } } }');
    expect(remote.tasks[0]).toMatchObject({ params: { from: 'hf://openai-community/gpt2' }, sources: [] });
  });

  it('publishes what is named, one path for each task', async () => {
    expect((await graphOf(study)).publications).toEqual([
      { path: 'tables', task: 'compare', artifact: 'tables' },
      { path: 'curves/bf16-1.csv', task: 'train[precision=bf16,seed=1]', artifact: 'curve' },
      { path: 'curves/bf16-2.csv', task: 'train[precision=bf16,seed=2]', artifact: 'curve' },
      { path: 'curves/nf4-1.csv', task: 'train[precision=nf4,seed=1]', artifact: 'curve' },
      { path: 'curves/nf4-2.csv', task: 'train[precision=nf4,seed=2]', artifact: 'curve' },
    ]);
  });

  it('is named after its file unless it has a name', async () => {
    expect((await graphOf('stages: { a: { run: make } }')).name).toBe('p');
  });

  it('is right about a chain longer than the stack', async () => {
    const chain = Array.from(
      { length: 10_000 },
      (_, at) => `  s${10_000 - at}: { run: make, needs: ${at === 9999 ? '[]' : `s${9999 - at}`} }`,
    );
    const graph = await graphOf(`stages:\n${chain.join('\n')}`);
    expect(graph.tasks[0]!.id).toBe('s1');
    expect(graph.tasks.at(-1)!.id).toBe('s10000');
  });
});

describe('params', () => {
  it('come from the file, then the profile, then the command line', async () => {
    expect((await graphOf(study, { profile: 'quick' })).params).toMatchObject({ seeds: [7], steps: 20 });
    const given = await graphOf(study, {
      profile: 'quick',
      params: ['seeds=[8, 9]', 'steps=1e2', 'nested.more.deep=no way: really'],
    });
    expect(given.params).toEqual({ seeds: [8, 9], steps: 100, nested: { lr: 0.1, more: { deep: 'no way: really' } } });
    expect(given.profile).toBe('quick');
  });

  test.each([
    ['5', 5],
    ['-1.5e-3', -0.0015],
    ['true', true],
    ['null', null],
    ['', null],
    ['text', 'text'],
    ['a=b', 'a=b'],
    ['"5"', '5'],
    ['{ a: [1, "x"] }', { a: [1, 'x'] }],
    ['https://host/path?x=[1', 'https://host/path?x=[1'],
    ['a: b', 'a: b'],
    ['${{ 1 }}', '${{ 1 }}'],
  ])('%j on the command line is %j', async (text, wanted) => {
    expect((await graphOf(study, { params: [`steps=${text}`] })).params.steps).toEqual(wanted);
  });

  it('may use each other in any order', async () => {
    const graph = await graphOf(
      'params: { a: "${{ params.b }}-${{ params.c.d }}", b: "${{ params.c.d + 1 }}", c: { d: 1 } }\nstages: { s: { run: make } }',
      { params: ['c.d=5'] },
    );
    expect(graph.params).toMatchObject({ c: { d: 5 } });
  });

  it('of one stage are set by --set', async () => {
    const graph = await graphOf(study, { sets: ['train.rank=4', 'train.targets=[k]'] });
    expect(task(graph, 'train[precision=nf4,seed=1]').params).toMatchObject({ rank: 4, targets: ['k'] });
  });

  it('that are null count as not given', async () => {
    const graph = await graphOf(
      'stages: { d: { uses: download, with: { from: x } }, t: { uses: train, in: { data: d.file, base: null }, with: { rank: } } }',
    );
    expect(task(graph, 't')).toMatchObject({ params: { rank: 8 }, inputs: { data: { kind: 'artifact' } } });
  });

  it('of a stage, and its module, may be chosen by an expression', async () => {
    const text = `
params: { data: generated }
stages:
  d:
    uses: \${{ params.data == 'generated' && 'train' || 'download' }}
    in: { data: { file: x } }
    with: "\${{ params.data == 'generated' && { rank: 3 } || { from: params.data } }}"
`;
    expect((await graphOf(text)).tasks[0]).toMatchObject({ action: { stage: 'train' }, params: { rank: 3 } });
  });
});

describe('joining', () => {
  const stages = (consumer: string) => `
stages:
  base: { run: make, out: { model: m }, matrix: { precision: [bf16, nf4] } }
  train: { run: make, out: { adapter: a }, in: { base: base.model }, matrix: { precision: [bf16, nf4], seed: [1, 2] } }
  next: ${consumer}
`;
  const inputs = async (consumer: string, id = 'next') => task(await graphOf(stages(consumer)), id).inputs;

  it('takes the producer with the same value on every axis that both have', async () => {
    expect(await inputs('{ run: make }', 'train[precision=nf4,seed=2]')).toEqual({
      base: { kind: 'artifact', task: 'base[precision=nf4]', artifact: 'model' },
    });
  });

  it('takes the list over the axes that the consumer lacks', async () => {
    expect(
      await inputs(
        '{ run: make, matrix: { seed: [2] }, in: { all: { all: [base.model, train.adapter] } } }',
        'next[seed=2]',
      ),
    ).toEqual({
      all: {
        kind: 'all',
        members: [
          { task: 'base[precision=bf16]', artifact: 'model', axes: { precision: 'bf16' } },
          { task: 'base[precision=nf4]', artifact: 'model', axes: { precision: 'nf4' } },
          { task: 'train[precision=bf16,seed=2]', artifact: 'adapter', axes: { precision: 'bf16', seed: 2 } },
          { task: 'train[precision=nf4,seed=2]', artifact: 'adapter', axes: { precision: 'nf4', seed: 2 } },
        ],
      },
    });
  });

  it('takes another value on an axis where asked', async () => {
    const consumer =
      '{ run: make, matrix: { precision: [nf4], seed: [1] }, in: { ref: { from: train.adapter, where: { precision: bf16 } } } }';
    expect(await inputs(consumer, 'next[precision=nf4,seed=1]')).toEqual({
      ref: { kind: 'artifact', task: 'train[precision=bf16,seed=1]', artifact: 'adapter' },
    });
    expect(await inputs('{ run: make, in: { x: { all: train.adapter, where: { seed: 2 } } } }')).toMatchObject({
      x: { members: [{ axes: { precision: 'bf16', seed: 2 } }, { axes: { precision: 'nf4', seed: 2 } }] },
    });
  });

  it('lets an expression choose the producer', async () => {
    const consumer = `{ run: make, matrix: { precision: [bf16, nf4] }, in: { x: "\${{ matrix.precision == 'nf4' && 'base.model' || null }}" } }`;
    expect(await inputs(consumer, 'next[precision=nf4]')).toEqual({
      x: { kind: 'artifact', task: 'base[precision=nf4]', artifact: 'model' },
    });
    expect(await inputs(consumer, 'next[precision=bf16]')).toEqual({});
  });

  it('waits for the tasks of `needs` that join', async () => {
    const graph = await graphOf(stages('{ run: make, needs: train, matrix: { seed: [1] } }'));
    expect(task(graph, 'next[seed=1]').needs).toEqual(['train[precision=bf16,seed=1]', 'train[precision=nf4,seed=1]']);
  });

  it('takes a file of the project by its absolute path', async () => {
    const graph = await graphOf('stages: { a: { run: make, in: { x: { file: assets/x.json } } } }');
    expect(graph.tasks[0]!.inputs).toEqual({ x: { kind: 'file', path: join(graph.root, 'assets/x.json') } });
  });
});

describe('a command', () => {
  const command = async (text: string) =>
    (
      await graphOf(
        `params: { two: 'a b', n: 3 }\nstages: { a: { ${text}, in: { t: { file: f } }, out: { s: s.txt } } }`,
      )
    ).tasks[0]!.action;

  test.each([
    ['run: "sort -k 2 ${{ in.t }} -o ${{ out.s }}"', ['sort', '-k', '2', '{{in:t}}', '-o', '{{out:s}}']],
    ['run: "echo ${{ params.two }} \'c  d\' x${{ params.n + 1 }}y"', ['echo', 'a b', 'c  d', 'x4y']],
    ['run: [echo, "${{ params.two }}", 5]', ['echo', 'a b', '5']],
    ['run: \'a "b c"d \\\\ e\'', ['a', 'b cd', ' e']],
  ])('%s is cut into words before it is filled in', async (text, words) => {
    expect(await command(text.replace('\\\\', '\\'))).toEqual({ kind: 'run', command: words, shell: false });
  });

  it('gives words that are quoted as they were', async () => {
    const quoted = (word: string) => `'${word.replaceAll("'", `'\\''`)}'`;
    const words = fc.array(
      fc.string().filter((word) => !word.includes('${{')),
      { minLength: 1 },
    );
    await fc.assert(
      fc.asyncProperty(words, async (given) => {
        const line = JSON.stringify(given.map(quoted).join(' '));
        expect(await command(`run: ${line}`)).toEqual({ kind: 'run', command: given, shell: false });
      }),
    );
  });

  it('for the shell is left whole', async () => {
    expect(await command('run: "cat ${{ in.t }} | wc > ${{ out.s }}", shell: true')).toEqual({
      kind: 'run',
      command: 'cat {{in:t}} | wc > {{out:s}}',
      shell: true,
    });
  });

  it('has an environment, limits and resources', async () => {
    const graph = await graphOf(
      'stages: { a: { run: make, env: { N: "${{ matrix.n }}", F: true }, timeout: 1h30m, retry: "${{ matrix.n }}", resources: { cpu: 2, gpu: 1, memory: 1.5GiB }, matrix: { n: [2] } } }',
    );
    expect(graph.tasks[0]).toMatchObject({
      env: { N: '2', F: 'true' },
      timeoutSeconds: 5400,
      retry: 2,
      resources: { cpu: 2, gpu: 1, memory: 1.5 * 2 ** 30 },
    });
  });
});

describe('include', () => {
  const base = `
params: { steps: 10, source: x }
profiles: { tiny: { steps: 1 }, other: { source: z } }
stages:
  data: { uses: download, with: { from: '\${{ params.source }}' } }
  unused: { run: make }
  train: { uses: train, in: { data: data.file }, with: { rank: '\${{ params.steps }}' } }
`;
  const text = `
include: shared/base.yaml
params: { steps: 20 }
profiles: { tiny: { source: y } }
stages:
  compare: { uses: compare, in: { evals: { all: train.model } } }
`;

  it('brings the stages that are needed, and params that this file may replace', async () => {
    const { graph, files } = await load(text, { files: { 'shared/base.yaml': base } });
    expect(ids(graph)).toEqual(['data', 'train', 'compare']);
    expect(graph.params).toEqual({ steps: 20, source: 'x' });
    expect(task(graph, 'train').location).toEqual({ file: 'shared/base.yaml', line: 7, column: 3 });
    expect(files).toEqual([join(graph.root, 'p.yaml'), join(graph.root, 'shared/base.yaml')]);
  });

  it('merges profiles by name', async () => {
    const files = { 'shared/base.yaml': base };
    expect((await graphOf(text, { files, profile: 'tiny' })).params).toEqual({ steps: 1, source: 'y' });
    expect((await graphOf(text, { files, profile: 'other' })).params).toEqual({ steps: 20, source: 'z' });
  });

  it('keeps every stage when the file has none of its own', async () => {
    expect(ids(await graphOf('include: [shared/base.yaml]', { files: { 'shared/base.yaml': base } }))).toEqual([
      'data',
      'unused',
      'train',
    ]);
  });

  it('takes a file once that two files include', async () => {
    const files = {
      'base.yaml': 'stages: { a: { run: make, out: { o: o } } }',
      'left.yaml': 'include: base.yaml\nstages: { l: { run: make, in: { a: a.o } } }',
      'right.yaml': 'include: base.yaml\nstages: { r: { run: make, in: { a: a.o } } }',
    };
    expect(ids(await graphOf('include: [left.yaml, right.yaml]', { files }))).toEqual(['a', 'l', 'r']);
  });
});

it('reads a file by its absolute path too', async () => {
  const root = projectWith({ 'deep/er.yaml': 'stages: { a: { run: make } }' });
  const { graph } = await loadGraph({ file: join(root, 'deep/er.yaml'), root, resolver });
  expect(graph.name).toBe('er');
});

it('gives the shared value of an anchor to every alias', async () => {
  const graph = await graphOf(`
stages:
  a: { run: make, matrix: &grid { x: [1, 2] }, out: { o: o } }
  b: { run: make, matrix: *grid, in: { i: a.o } }
`);
  expect(task(graph, 'b[x=2]').inputs).toEqual({ i: { kind: 'artifact', task: 'a[x=2]', artifact: 'o' } });
});
