/** `pipe run --executor slurm` on a real Slurm of three virtual nodes with two CPUs and two pretended GPUs each. */
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, expect, test, vi } from 'vitest';
import type { Event } from '../engine/events.ts';
import type { TaskRecord } from '../engine/record.ts';
import { Random } from '../model/random.ts';
import { type CommandProject, leftovers, openProjectFolder, processesOf } from './support/checkout.ts';
import { type Cluster, follow, startCluster } from './support/slurm.ts';

// A job starts when Slurm finds the time, and a busy machine lets it wait.
vi.setConfig({ testTimeout: 240_000, hookTimeout: 240_000 });

let cluster: Cluster;
let unavailable: string | null = null;
beforeAll(() => {
  const started = startCluster();
  if (typeof started === 'string') {
    unavailable = started;
    console.log(`skipped: ${started}`);
  } else cluster = started;
});
afterAll(() => cluster?.stop());

let project: CommandProject;
beforeEach((context) => {
  if (unavailable !== null) context.skip(unavailable);
  project = openProjectFolder();
});
afterEach(async () => {
  if (unavailable !== null) return;
  // A test that failed leaves no job to the next.
  const jobs = (await queue()).map((line) => line.split(' ')[0]!);
  if (jobs.length > 0) await cluster.ask('scancel', ...jobs);
  project.remove();
});

const slurm = ['--executor', 'slurm'];
const start = (...args: string[]) => follow(project.root, [...args, ...slurm], cluster.environment);

/** A command, for `run:`, that says in a file that it began, waits for another file, and writes its output. */
const gated = (root: string, name: string, output: string) =>
  `echo begun >> ${root}/${name}.begun; while [ ! -e ${root}/${name}.go ]; do sleep 0.05; done; ${output}`;
const go = (name: string) => project.write(`${name}.go`, '');

/** A pipeline of one stage `task` that writes `o`, over these numbers `n` if there are any; the outputs are put together, sorted. */
function pipelineOf(run: string, numbers: readonly number[] = [], cpus = 2): string {
  const matrix = numbers.length === 0 ? '' : `matrix: { n: [${numbers}] },`;
  return `name: p
stages:
  task: { run: ${JSON.stringify(run)}, shell: true, ${matrix} out: { o: o }, resources: { cpu: ${cpus} } }
  sum: { run: [sort, -n, '\${{ in.all }}', -o, '\${{ out.o }}'], in: { all: { all: task.o } }, out: { o: o } }
publish: { o: sum.o }
`;
}

const isOf = (type: Event['type'], task: string) => (event: Event) =>
  event.type === type && 'task' in event && event.task === task;
const of = <T extends Event['type']>(events: readonly Event[], type: T) =>
  events.filter((event): event is Extract<Event, { type: T }> => event.type === type);

/** The records of the project, by task. */
function records(): Map<string, TaskRecord> {
  const folder = join(project.root, 'cache', 'ac');
  const files = readdirSync(folder, { recursive: true, encoding: 'utf8' }).filter((name) => name.length > 60);
  return new Map(
    files.map((name) => {
      const record = JSON.parse(readFileSync(join(folder, name), 'utf8')) as TaskRecord;
      return [record.task, record];
    }),
  );
}

/** Jobs in the queue that are not over. */
const queue = async () =>
  (await cluster.ask('squeue', '-h', '-r', '-o', '%i %T')).split('\n').filter((line) => line !== '');

/** The numbers of the tasks that were executed, each as often as it was. */
const executions = () =>
  project
    .read('executions')
    .trim()
    .split('\n')
    .map(Number)
    .sort((a, b) => a - b);

/** What is left of attempts. */
const attempts = () => [
  ...readdirSync(join(project.root, 'cache', 'jobs')).filter((name) => name !== 'mail'),
  ...readdirSync(join(project.root, 'cache', 'jobs', 'mail')),
];

function isRunning(pid: number): boolean {
  try {
    return process.kill(pid, 0);
  } catch {
    return false;
  }
}

async function until(holds: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const deadline = performance.now() + 60_000;
  while (!(await holds())) {
    if (performance.now() > deadline) throw new Error(`after 60 s, still not: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

const shape = `import { writeFileSync } from 'node:fs';
import { defineStage } from 'pipe/stage';
export default defineStage({
  description: 'Says what it was given.',
  accelerated: true,
  params: { n: { type: 'integer', description: 'any number' } },
  inputs: {},
  outputs: { shape: { path: 'shape.json', description: 'what it was given' } },
  async run({ params, outputs, cpus, device, log, warn, progress, measure }) {
    log('number ' + params.n);
    if (params.n === 1) warn('one is a small number');
    progress(1, 2);
    measure('number', params.n);
    const gpus = process.env.CUDA_VISIBLE_DEVICES;
    writeFileSync(outputs.shape, JSON.stringify({ number: params.n, cpus, device, gpus }));
  },
});
`;

test('a matrix is one array; resources and the device become cpus, memory and GPUs; the record names job and node', async () => {
  project.write('stages/shape.ts', shape);
  project.write(
    'pipelines/p.yaml',
    `name: p
stages:
  shape:
    uses: shape
    matrix: { n: [1, 2, 3] }
    with: { n: '\${{ matrix.n }}' }
    resources: { cpu: 2, memory: 300MB }
    timeout: 10m
  list:
    run: 'echo "$CUDA_VISIBLE_DEVICES" > \${{ out.devices }}; cat \${{ in.all }} > \${{ out.list }}'
    shell: true
    in: { all: { all: shape.shape } }
    out: { list: list.txt, devices: devices.txt }
    resources: { gpu: 2 }
publish:
  'list.txt': list.list
  'devices.txt': list.devices
`,
  );
  const { code, events, executed } = await project.run([...slurm, '--device', 'cuda'], cluster.environment);
  expect(code).toBe(0);
  expect(executed).toEqual(['list', 'shape[n=1]', 'shape[n=2]', 'shape[n=3]']);
  const jobs = new Map(of(events, 'task-queued').map(({ task, job }) => [task, job.id]));
  const arrays = [1, 2, 3].map((n) => jobs.get(`shape[n=${n}]`)!.split('_')[0]);
  expect(new Set(arrays).size).toBe(1);
  expect(jobs.get('list')!.split('_')[0]).not.toBe(arrays[0]);
  for (const n of [1, 2, 3]) {
    const record = records().get(`shape[n=${n}]`)!;
    const id = jobs.get(`shape[n=${n}]`)!;
    expect(record).toMatchObject({
      job: { cluster: 'loopback', id },
      host: { name: expect.stringMatching(/^n[123]$/) },
      measurements: { number: n },
    });
    const said = await cluster.ask('scontrol', 'show', 'job', id);
    expect(said).toMatch(/JobName=p\/shape/);
    expect(said).toMatch(/NumCPUs=2 NumTasks=1 CPUs\/Task=2/);
    expect(said).toMatch(/TRES=cpu=2,mem=287M,node=1/);
    expect(said).toMatch(/TresPerNode=gres:gpu:1/);
    expect(said).toMatch(/TimeLimit=00:11:00/);
    expect(said).toContain(`BatchHost=${record.host.name}`);
  }
  const given = project
    .read('results/p/list.txt')
    .trim()
    .split('}')
    .filter((text) => text !== '')
    .map((text) => JSON.parse(`${text}}`));
  // A node with two CPUs holds one of them at a time: each sees the first GPU of its own.
  expect(given).toEqual([1, 2, 3].map((number) => ({ number, cpus: 2, device: 'cuda', gpus: '0' })));
  expect(project.read('results/p/devices.txt')).toBe('0,1\n');
  expect(of(events, 'warning').map(({ message }) => message)).toEqual(['one is a small number']);
  expect(of(events, 'task-measured').map(({ value }) => value)).toHaveLength(3);
  expect((await project.pipe(['log', 'shape[n=2]'])).stdout).toBe('number 2\n');
  expect(attempts()).toEqual([]);
  // The next run asks nobody.
  const again = await project.pipe(['run', ...slurm, '--device', 'cuda'], { SLURM_CONF: '/nowhere' });
  expect(again.stdout).toMatch(/^p: up to date/);
});

test('a task that fails is told with its log; what Slurm does not take, in the words of Slurm; time is kept on the node', async () => {
  project.write(
    'pipelines/p.yaml',
    `name: p
stages:
  fails: { run: 'echo last words; exit 3', shell: true, out: { o: o }, retry: 1 }
  large: { run: 'true', out: { o: o }, resources: { cpu: 64 } }
  slow: { run: 'sleep 600', out: { o: o }, timeout: 1s }
  good: { run: 'echo good > \${{ out.o }}', shell: true, out: { o: o } }
`,
  );
  const { code, events, executed } = await project.run(['-k', ...slurm], cluster.environment);
  expect(code).toBe(1);
  expect(executed).toEqual(['good']);
  const failures = new Map(of(events, 'task-failed').map((event) => [event.task, event]));
  expect(failures.get('fails')).toMatchObject({ failure: { kind: 'exit-code' }, tail: ['last words'] });
  expect(failures.get('fails')!.failure.message).toContain('exit code 3');
  expect(of(events, 'task-retried').map(({ task }) => task)).toEqual(['fails']);
  expect(failures.get('large')!.failure).toMatchObject({
    kind: 'refused',
    message: expect.stringMatching(/never start it \(PartitionConfig\)|node configuration is not available/),
  });
  expect(failures.get('slow')!.failure).toMatchObject({ kind: 'timeout', message: expect.stringContaining('1 s') });
  expect((await project.pipe(['log', 'fails'])).stdout).toBe('last words\n');
  expect(attempts()).toEqual([]);
});

test('a dead node is no failure of its tasks: they run elsewhere, and what its orphans write is nobody’s result', async () => {
  const { root } = project;
  // The first attempt outlives its node, and writes its output for ever.
  const first = `touch ${root}/first; while true; do echo orphan > ${'${{ out.o }}'}; sleep 0.02; done`;
  project.write(
    'pipelines/p.yaml',
    pipelineOf(`if [ -e ${root}/first ]; then echo second > ${'${{ out.o }}'}; else ${first}; fi`),
  );
  const run = start();
  await until(() => existsSync(join(root, 'first')), 'the first attempt is at work');
  const queued = of(run.events, 'task-queued')[0]!;
  const node = /BatchHost=(\w+)/.exec(await cluster.ask('scontrol', 'show', 'job', queued.job.id))![1]!;
  process.kill(cluster.pid(`slurmd-${node}`), 'SIGKILL');
  await cluster.ask('scontrol', 'update', `nodename=${node}`, 'state=down', 'reason=test');
  expect((await run.end).code).toBe(0);
  const retried = of(run.events, 'task-retried')[0]!;
  expect(retried.failure).toMatchObject({ kind: 'lost', message: expect.stringContaining('its node failed') });
  expect(project.read('results/p/o')).toBe('second\n');
  expect(records().get('task')!.job!.id).not.toBe(queued.job.id);
  expect(records().get('task')!.host.name).not.toBe(node);
  expect(attempts()).toEqual([]);
  await until(() => processesOf(root).length === 0, 'the orphan has ended itself');
  expect(attempts()).toEqual([]);
  cluster.start('slurmd', node);
  await until(async () => (await cluster.ask('sinfo', '-h', '-p', 'main', '-o', '%T%D')) === 'idle3\n', 'it is back');
});

test('a preempted task runs again when there is room', async () => {
  const { root } = project;
  project.write('pipelines/p.yaml', pipelineOf(gated(root, 'task', 'echo done > ${{ out.o }}')));
  const run = start();
  await run.when(isOf('task-started', 'task'));
  const everything = ['-p', 'urgent', '-N3', '-n3', '-c2', '-o', '/dev/null', '--wrap', 'sleep 60'];
  const urgent = await cluster.ask('sbatch', '--parsable', ...everything);
  await run.when(isOf('task-retried', 'task'));
  go('task');
  await cluster.ask('scancel', urgent.trim());
  expect((await run.end).code).toBe(0);
  expect(of(run.events, 'task-retried').map(({ failure }) => failure.kind)).toEqual(['lost']);
  expect(of(run.events, 'task-retried')[0]!.failure.message).toContain('higher priority');
  expect(project.read('results/p/o')).toBe('done\n');
});

test('a run that is killed leaves its jobs at work; started again, it finds those that run, wait and have ended, and waits for them', async () => {
  const { root } = project;
  const numbers = [1, 2, 3, 4, 5];
  // Six CPUs: three tasks run, two wait for room.
  const work = gated(root, 'n${{ matrix.n }}', 'echo ${{ matrix.n }} > ${{ out.o }}');
  project.write('pipelines/p.yaml', pipelineOf(`echo ${'${{ matrix.n }}'} >> ${root}/executions; ${work}`, numbers));
  const first = start();
  await first.when(({ type }) => type === 'task-started', 3);
  const jobs = of(first.events, 'task-queued').map(({ task, job }) => [task, job.id]);
  expect(jobs).toHaveLength(5);
  first.kill('SIGKILL');
  await first.end;
  // One ends while nobody looks.
  const begun = () => numbers.find((n) => existsSync(join(root, `n${n}.begun`)));
  await until(() => begun() !== undefined, 'a task is at work');
  go(`n${begun()}`);
  await until(
    () => readdirSync(join(root, 'cache/jobs/mail')).some((name) => name.endsWith('.ended')),
    'a task has ended',
  );
  const second = start();
  await second.when(({ type }) => type === 'task-queued', 5);
  for (const n of numbers) go(`n${n}`);
  expect((await second.end).code).toBe(0);
  const adopted = of(second.events, 'task-queued').filter((event) => event.adopted);
  expect(adopted.map(({ task, job }) => [task, job.id]).sort()).toEqual(jobs.sort());
  expect(executions()).toEqual(numbers);
  expect(project.read('results/p/o')).toBe('1\n2\n3\n4\n5\n');
  for (const [task, id] of jobs) expect(records().get(task!)!.job!.id).toBe(id);
  expect(attempts()).toEqual([]);
  await until(async () => (await queue()).length === 0, 'no job is left');
});

test('a run that is killed again and again, at any moment, does nothing twice and loses nothing', async () => {
  const { root } = project;
  const numbers = Array.from({ length: 12 }, (_, n) => n);
  const work = `echo ${'${{ matrix.n }}'} >> ${root}/executions; echo ${'${{ matrix.n }}'} > ${'${{ out.o }}'}`;
  project.write('pipelines/p.yaml', pipelineOf(work, numbers, 1));
  const random = new Random(5, 'moments');
  for (let round = 0; round < 6; round++) {
    const run = start();
    // From the laying out of folders to the taking in of results; then a moment later, between two events.
    const count = [50, 62, 74][random.integer(3)]! + random.integer(12);
    await run.when(() => true, count).catch(() => undefined);
    setTimeout(() => run.kill('SIGKILL'), random.integer(300));
    await run.end;
  }
  const last = await project.run(slurm, cluster.environment);
  expect(last).toMatchObject({ code: 0, stderr: '' });
  expect(executions()).toEqual(numbers);
  expect(project.read('results/p/o')).toBe(`${numbers.join('\n')}\n`);
  expect(attempts()).toEqual([]);
  await until(async () => (await queue()).length === 0, 'no job is left');
});

test('Ctrl-C cancels what runs and what waits', async () => {
  const { root } = project;
  project.write('pipelines/p.yaml', pipelineOf(gated(root, 'never', 'echo ${{ matrix.n }}'), [1, 2, 3, 4]));
  const run = start();
  await run.when(({ type }) => type === 'task-started', 3);
  expect(await queue()).toHaveLength(4);
  run.kill('SIGINT');
  const { code, seconds } = await run.end;
  expect(code).toBe(130);
  expect(seconds).toBeLessThan(60);
  await until(async () => (await queue()).length === 0, 'no job is left');
  expect(attempts()).toEqual([]);
  expect(leftovers(root)).toEqual([]);
});

test('while the controller is down, what runs goes on; a run that begins then says so within a bound, and nothing is lost', async () => {
  const { root } = project;
  project.write(
    'pipelines/p.yaml',
    `name: p
stages:
  first: { run: '${gated(root, 'first', 'echo first > ${{ out.o }}')}', shell: true, out: { o: o } }
  second: { run: ['cp', '\${{ in.o }}', '\${{ out.o }}'], in: { o: first.o }, out: { o: o } }
publish: { o: second.o }
`,
  );
  const run = start();
  await run.when(isOf('task-started', 'first'));
  const controller = cluster.pid('slurmctld');
  process.kill(controller, 'SIGTERM');
  await until(() => !isRunning(controller), 'the controller has ended');
  writeFileSync(join(root, 'pipelines/other.yaml'), "name: other\nstages: { a: { run: 'true', out: { o: o } } }\n");
  const late = await project.pipe(['run', 'other', ...slurm], cluster.environment);
  expect(late).toMatchObject({ code: 2, stderr: expect.stringMatching(/^Slurm (does|did) not answer/) });
  expect(late.seconds).toBeLessThan(60);
  go('first');
  // Its end is heard of though Slurm says nothing; the next one cannot be submitted, and waits for Slurm.
  await run.when(isOf('task-done', 'first'));
  await run.when((event) => event.type === 'warning' && /asked again/.test(event.message));
  cluster.start('slurmctld');
  const end = await run.end;
  expect(of(run.events, 'task-failed').map(({ failure }) => failure.message)).toEqual([]);
  expect(end.code).toBe(0);
  expect(project.read('results/p/o')).toBe('first\n');
});
