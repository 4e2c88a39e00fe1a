/** Accelerated tasks with GPUs that are only pretended: the device they are told, those that they see, how many run, and their keys. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, test, vi } from 'vitest';
import { machineGpus } from '../engine/devices.ts';
import { folderWith, runPipe } from './support/pipe_command.ts';

/** Says what it is told to compute on and which GPUs it sees, and for how long it had them. */
const probe = `import { defineStage } from 'pipe/stage';
import { setTimeout } from 'node:timers/promises';
import { writeFileSync } from 'node:fs';
export default defineStage({
  description: 'says what it sees',
  accelerated: true,
  params: { n: { type: 'integer', default: 0, description: 'a number' } },
  inputs: {},
  outputs: { out: { description: 'what it saw', path: 'out.json' } },
  async run({ device, outputs }) {
    const from = Date.now();
    // Long enough that two which may be at work together are.
    await setTimeout(150);
    const seen = process.env.CUDA_VISIBLE_DEVICES ?? null;
    writeFileSync(outputs.out, JSON.stringify({ device, seen, from, to: Date.now() }));
  },
});
`;

const pipeline = `
stages:
  probe:
    uses: probe
    matrix: { n: [1, 2, 3, 4] }
    with: { n: "\${{ matrix.n }}" }
  plain:
    run: 'echo "$CUDA_VISIBLE_DEVICES" > \${{ out.o }}'
    shell: true
    out: { o: o }
publish: { "\${{ matrix.n }}.json": probe.out }
`;

interface Seen {
  readonly device: string;
  readonly seen: string | null;
  readonly from: number;
  readonly to: number;
}

function project() {
  const folder = folderWith({ 'stages/probe.ts': probe, 'pipelines/p.yaml': pipeline });
  const pipe = (args: readonly string[], env: Record<string, string>) => runPipe(folder.root, args, { env });
  const seen = async (args: readonly string[], env: Record<string, string>): Promise<Seen[]> => {
    const { code, err } = await pipe(['run', '-j', '4', ...args], env);
    expect(err).toBe('');
    expect(code).toBe(0);
    return [1, 2, 3, 4].map((n) => JSON.parse(readFileSync(join(folder.root, `results/p/${n}.json`), 'utf8')) as Seen);
  };
  const keys = async (args: readonly string[], env: Record<string, string>): Promise<Record<string, string>> => {
    const { out } = await pipe(['status', '--json', 'p', ...args], env);
    const { tasks } = JSON.parse(out) as { tasks: { task: string; key: string }[] };
    return Object.fromEntries(tasks.map(({ task, key }) => [task, key]));
  };
  return { pipe, seen, keys };
}

/** The most that were under way at one moment. */
function together(all: readonly Seen[]): number {
  return Math.max(...all.map(({ from }) => all.filter((other) => other.from <= from && from < other.to).length));
}

afterEach(() => {
  vi.unstubAllEnvs();
});

test.each([
  ['3', undefined, ['0', '1', '2']],
  ['8', '5,GPU-7f', ['5', 'GPU-7f']],
  ['1', '5,GPU-7f', ['5']],
  ['2', '0,0', ['0', '0']],
  ['8', '2,-1,3', ['2']],
  ['8', '', []],
  ['0', '0', []],
])('PIPE_GPUS=%s and CUDA_VISIBLE_DEVICES=%s offer %j', (offered, visible, names) => {
  vi.stubEnv('PIPE_GPUS', offered);
  vi.stubEnv('CUDA_VISIBLE_DEVICES', visible);
  expect(machineGpus()).toEqual(names);
});

test('without a GPU, auto is the CPU', async () => {
  const all = await project().seen([], { PIPE_GPUS: '0' });
  expect(all.map(({ device }) => device)).toEqual(['cpu', 'cpu', 'cpu', 'cpu']);
});

test('each GPU has one task at a time, which sees no other', async () => {
  const { seen } = project();
  const one = await seen([], { PIPE_GPUS: '1' });
  expect(one.map(({ device, seen }) => [device, seen])).toEqual(Array(4).fill(['cuda', '0']));
  expect(together(one)).toBe(1);

  const two = await seen(['--force', '--device', 'cuda'], { PIPE_GPUS: '2' });
  expect(two.map(({ device }) => device)).toEqual(Array(4).fill('cuda'));
  expect(new Set(two.map(({ seen }) => seen))).toEqual(new Set(['0', '1']));
  for (const gpu of ['0', '1']) expect(together(two.filter(({ seen }) => seen === gpu))).toBe(1);
});

test('GPUs have the names that CUDA_VISIBLE_DEVICES gives them', async () => {
  const all = await project().seen([], { PIPE_GPUS: '8', CUDA_VISIBLE_DEVICES: '5,GPU-7f' });
  expect(new Set(all.map(({ seen }) => seen))).toEqual(new Set(['5', 'GPU-7f']));
});

test('the device is in the keys of accelerated tasks alone, and only if it is a GPU', async () => {
  const { seen, keys, pipe } = project();
  const [none, cpu, cuda] = [
    await keys([], { PIPE_GPUS: '0' }),
    await keys(['--device', 'cpu'], { PIPE_GPUS: '2' }),
    await keys([], { PIPE_GPUS: '2' }),
  ];
  expect(cpu).toEqual(none);
  expect(cuda.plain).toBe(cpu.plain);
  for (const n of [1, 2, 3, 4]) expect(cuda[`probe[n=${n}]`]).not.toBe(cpu[`probe[n=${n}]`]);
  expect(await keys([], { PIPE_GPUS: '0', PIPE_DEVICE: 'cuda' })).toEqual(cuda);

  await seen(['--device', 'cpu'], { PIPE_GPUS: '2' });
  // As the last run was asked for.
  expect((await pipe(['status', '--check'], { PIPE_GPUS: '2' })).code).toBe(0);
  const { out } = await pipe(['why', 'probe[n=1]', '--device', 'cuda'], { PIPE_GPUS: '2' });
  expect(out).toContain('device changed: "cpu" -> "cuda"');
});

test('a GPU that is asked for and not there is refused before anything runs', async () => {
  const { pipe } = project();
  const { code, out, err } = await pipe(['run', '--device', 'cuda'], { PIPE_GPUS: '0' });
  expect(code).toBe(2);
  expect(out).toBe('');
  expect(err).toContain('--device cuda: this machine offers no GPU');
  expect(err).toContain('--device cpu');
  const wrong = await pipe(['status'], { PIPE_GPUS: 'two' });
  expect(wrong.code).toBe(2);
  expect(wrong.err).toContain('PIPE_GPUS is how many GPUs tasks may have, not "two"');
});

test('after a failure on a GPU the next attempt has a new process: nothing of the first is left in its memory', async () => {
  const flaky = probe.replace('{ writeFileSync }', '{ appendFileSync, readFileSync, writeFileSync }').replace(
    /async run.*$/s,
    `run({ retained, outputs }) {
    appendFileSync(retained + '/pids', process.pid + ' ');
    const pids = readFileSync(retained + '/pids', 'utf8').trim().split(' ');
    if (pids.length === 1) throw new Error('the first attempt');
    writeFileSync(outputs.out, JSON.stringify(pids));
  },
});
`,
  );
  const text = `stages: { flaky: { uses: flaky, retry: 1 } }\npublish: { pids.json: flaky.out }\n`;
  const folder = folderWith({ 'stages/flaky.ts': flaky, 'pipelines/p.yaml': text });
  expect((await runPipe(folder.root, ['run'], { env: { PIPE_GPUS: '1' } })).code).toBe(0);
  const pids = JSON.parse(readFileSync(join(folder.root, 'results/p/pids.json'), 'utf8')) as string[];
  expect(new Set(pids).size).toBe(2);
});
