/** The project's own pipelines, in every profile; real records through one of them; and the same numbers without a compiler. */
import { cpSync, existsSync, readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type CommandProject, openProjectFolder, repository, type Told } from './support/checkout.ts';
import { smallStudy } from './support/small_study.ts';

const alpaca = join(repository, '..', 'shared', 'data', 'alpaca-random-9229.json');

describe('the pipelines of the project', () => {
  let project: CommandProject;
  beforeAll(() => {
    project = openProjectFolder(smallStudy());
    for (const path of ['pipelines', 'assets/gpt2-tiny'])
      cpSync(join(repository, path), join(project.root, path), { recursive: true });
  });
  afterAll(() => project.remove());

  const stages = `base compare data evaluate evaluate-base evaluate-family plot quantize quantize-family report tokens train`;
  const diagnostic =
    'adapters-control adapters-rank adapters-targets base compare data diagnosis diagnostic-report evaluate evaluate-ablation evaluate-base evaluate-control evaluate-family evaluate-rank evaluate-rank-noise impact plot plot-impact plot-ranks quantization-error quantize quantize-family quantize-single ranks similarity step-times-rank step-times-targets time-rank time-targets tokens train train-control train-rank';

  const bits = 'base bases data evaluate-bits evaluate-untuned quantize-bits report tokens train-bits';
  const tasks = 'base evaluate-task evaluate-task-noise plot-task quantize task-ranks task-tokens together train-task';
  const mixed =
    'base bases choose compare data evaluate evaluate-base evaluate-family evaluate-mixed evaluate-mixed-untuned fresh fresh-tokens mixed-report quantize quantize-family quantize-mixed tokens train train-mixed';

  test.each([
    ['layer-sensitivity.yaml', [], stages],
    ['layer-sensitivity.yaml', ['--profile', 'tiny'], stages],
    ['layer-sensitivity.yaml', ['--profile', 'alpaca', '--param', 'data=data/records.json'], stages],
    ['layer-sensitivity.yaml', ['--profile', 'gpt2-medium'], stages],
    ['diagnostic.yaml', [], diagnostic],
    [
      'diagnostic.yaml',
      ['--profile', 'gpt2-medium', '--param', 'base=models/toy', '--param', 'data=data/records.json'],
      diagnostic,
    ],
    ['advise.yaml', [], 'advise fit'],
    ['extreme-bits.yaml', [], bits],
    ['extreme-bits.yaml', ['--profile', 'gpt2-medium'], bits],
    ['mixed-precision.yaml', [], mixed],
    ['mixed-precision.yaml', ['--profile', 'gpt2-medium'], mixed],
    ['tasks.yaml', [], `generated ${tasks}`],
    ['tasks.yaml', ['--profile', 'alpaca'], `alpaca-file arithmetic arithmetic-file category generated ${tasks}`],
    ['tasks.yaml', ['--profile', 'gpt2-medium'], `alpaca-file arithmetic arithmetic-file category generated ${tasks}`],
    ['bias-probe.yaml', [], 'base gaps quantize shift'],
    ['bias-probe.yaml', ['--profile', 'gpt2-medium'], 'base gaps quantize shift'],
    ['memory.yaml', [], 'base data memory quantize report tokens train train-rank'],
    ['memory.yaml', ['--profile', 'gpt2-medium'], 'base data memory quantize report tokens train train-rank'],
    ['pretrain-tiny.yaml', [], 'corpus pretrain tokenizer tokens'],
  ])('%s %j plans every stage, and nothing stands in its way', async (file, options, names) => {
    const { stdout, stderr, code } = await project.pipe(['run', '-n', `pipelines/${file}`, ...options, '--json']);
    expect({ stderr, code }).toEqual({ stderr: '', code: 0 });
    const plan = JSON.parse(stdout) as { counts: Record<string, number>; tasks: { stage: string }[] };
    expect([...new Set(plan.tasks.map(({ stage }) => stage))].sort().join(' ')).toBe(names.split(' ').sort().join(' '));
    expect(plan.counts).toMatchObject({ fresh: 0, broken: 0 });
    expect(plan.tasks.length).toBe(plan.counts.stale! + plan.counts.pending!);
    // Planning has made nothing but notes for the next time.
    expect(existsSync(join(project.root, 'results'))).toBe(false);
    expect(existsSync(join(project.root, 'cache/ac'))).toBe(false);
  });

  test('a base or a profile that there is not is said so before anything runs', async () => {
    const profile = await project.pipe(['run', 'layer-sensitivity', '--profile', 'gpt2-medum']);
    expect(profile.code).toBe(2);
    expect(profile.stderr).toMatch(/gpt2-medum[\s\S]*gpt2-medium/);
    const base = await project.pipe(['run', '-n', 'layer-sensitivity', '--param', 'base=assets/absent']);
    expect(base.stdout).toMatch(/base: cannot run: .*assets\/absent does not exist/);
  });

  test('profile alpaca runs from real records to the report', async (context) => {
    if (!existsSync(alpaca)) context.skip(`there are no real records at ${alpaca}`);
    const small = {
      data: alpaca,
      base: 'models/toy',
      records: '90',
      max_length: '128',
      layers: '[all]',
      seeds: '[42]',
      steps: '2',
      batch: '2',
      eval_every: '2',
      // Intervals over examples need eight.
      examples: '8',
      greedy_examples: '1',
      greedy_tokens: '2',
    };
    const params = Object.entries(small).flatMap(([name, value]) => ['--param', `${name}=${value}`]);
    const request = ['layer-sensitivity', '--profile', 'alpaca', ...params];
    const first = await project.run(request);
    expect({ stderr: first.stderr, code: first.code }).toEqual({ stderr: '', code: 0 });
    expect(first.stages.join(' ')).toBe(stages);
    const results = join(project.root, 'results/layer-sensitivity');
    for (const path of ['report.html', 'report.md', 'figures/layer_sensitivity_heatmap.svg'])
      expect(statSync(join(results, path)).size).toBeGreaterThan(500);
    expect(readdirSync(join(results, 'tables'))).toContain('performance.csv');
    expect((await project.run(request)).executed).toEqual([]);
  }, 120_000);
});

describe('without a compiler', () => {
  const metrics = `name: metrics
include: [small.yaml]
publish:
  '\${{ matrix.precision }}-\${{ matrix.seed }}.json': evaluate.metrics
`;
  const projects: CommandProject[] = [];
  afterAll(() => {
    for (const project of projects) project.remove();
  });

  const open = () => {
    const project = openProjectFolder({ ...smallStudy(), 'pipelines/metrics.yaml': metrics });
    projects.push(project);
    return project;
  };
  const backends = ({ events }: Told) => [
    ...new Set(
      events.flatMap((event) => (event.type === 'task-measured' && event.name === 'backend' ? [event.value] : [])),
    ),
  ];
  const lossesOf = (project: CommandProject) =>
    ['bf16-1', 'bf16-2', 'nf4-1', 'nf4-2'].map(
      (name) => (JSON.parse(project.read(`results/metrics/${name}.json`)) as { loss: number }).loss,
    );

  test('the small study runs on wasm, says so once, and its losses are those of the native kernels', async (context) => {
    const native = open();
    const told = await native.run(['metrics']);
    expect(told.code).toBe(0);
    if (!backends(told).includes('cpu-native'))
      context.skip('the native kernels cannot be had on this machine: there is nothing to compare with');

    const wasm = open();
    const off = { PIPE_NATIVE: 'off' };
    const { stdout, stderr, code } = await wasm.pipe(['run', 'metrics'], off);
    expect({ stderr, code }).toEqual({ stderr: '', code: 0 });
    expect(stdout.match(/running on TensorFlow\.js wasm/g)).toHaveLength(1);
    expect(stdout).toMatch(/^note: .*wasm, which is slower: PIPE_NATIVE=off/m);

    const losses = lossesOf(native);
    for (const [i, loss] of lossesOf(wasm).entries())
      expect(Math.abs(loss - losses[i]!) / losses[i]!).toBeLessThan(1e-4);
    expect(new Set(losses).size).toBe(4);
    // Who has a compiler and who has none share a cache: the kind of machine is in the record, not in the key.
    expect((await wasm.run(['metrics'])).executed).toEqual([]);
    expect(backends(await wasm.run(['metrics', 'evaluate', '--force'], off))).toEqual(['tfjs-wasm']);
  }, 120_000);
});
