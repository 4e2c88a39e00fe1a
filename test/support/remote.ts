/** What every kind of shared cache must do, as tests: machines are projects that share nothing but the cache. */
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest';
import { checkedJson, parseChecked } from '../../engine/checked.ts';
import type { Event } from '../../engine/events.ts';
import type { Graph } from '../../engine/graph.ts';
import { lineage } from '../../engine/lineage.ts';
import { makePlan } from '../../engine/plan.ts';
import { foreignText } from '../../engine/remote/trust.ts';
import { verify } from '../../engine/verify.ts';
import { openWorkspace, type Workspace } from '../../engine/workspace.ts';
import { echo, from, makeGraph, makeProject, makeTask, run, stageText, type TestProject } from './engine.ts';

/** A shared cache to test, and hands that reach into it behind its back. */
export interface Backend {
  /** A part of it that nobody has used yet, as PIPE_CACHE_REMOTE names it, and what else the environment must hold. */
  fresh(): Promise<{ readonly address: string; readonly env?: Readonly<Record<string, string>> }>;
  /** The digests in an area of the part that `fresh` gave last. */
  list(area: 'ac' | 'cas'): Promise<string[]>;
  read(area: 'ac' | 'cas', digest: string): Promise<Buffer>;
  write(area: 'ac' | 'cas', digest: string, content: Uint8Array): Promise<void>;
  remove(area: 'ac' | 'cas', digest: string): Promise<void>;
}

const stages = {
  'stages/echo.ts': echo,
  'stages/folder.ts': stageText(
    `    mkdirSync(outputs.out + '/deep/empty', { recursive: true });
    writeFileSync(outputs.out + '/one.txt', params.text);
    writeFileSync(outputs.out + '/deep/two.txt', 'two of ' + params.text + '\\n'.repeat(5000));`,
    "import { mkdirSync } from 'node:fs';",
    "{ out: { description: 'files', path: 'files' } }",
  ),
  'stages/count.ts': stageText(
    "    writeFileSync(outputs.out, readdirSync(inputs.from, { recursive: true }).sort().join(' ') + params.text);",
    "import { readdirSync } from 'node:fs';",
  ),
};

const machines: TestProject[] = [];

/** Another machine with the same sources. */
export function machine(): TestProject {
  const project = makeProject({ ...stages, 'data/raw.txt': 'raw\n'.repeat(1000) });
  machines.push(project);
  return project;
}

/** Removes the machines, and what a test put into the environment. */
export function clearMachines(): void {
  for (const project of machines.splice(0)) project.remove();
  vi.unstubAllEnvs();
}

/** raw -> first -> second -> last, and files (a folder) -> counted; last and counted are published. */
export function study({ root }: TestProject, last = 'last', first = 'first'): Graph {
  const raw = { kind: 'file', path: join(root, 'data/raw.txt') } as const;
  const tasks = [
    makeTask(root, 'first', 'echo', { inputs: { from: raw }, params: { text: first } }),
    makeTask(root, 'second', 'echo', { inputs: { from: from('first') } }),
    makeTask(root, 'last', 'echo', { inputs: { from: from('second') }, params: { text: last } }),
    makeTask(root, 'files', 'folder', { outputs: { out: 'files' } }),
    makeTask(root, 'counted', 'count', { inputs: { from: from('files') } }),
  ];
  return makeGraph(root, tasks, [
    { path: 'last.txt', task: 'last', artifact: 'out' },
    { path: 'counted.txt', task: 'counted', artifact: 'out' },
  ]);
}

export const all = ['counted', 'files', 'first', 'last', 'second'];

export async function opened<T>({ root }: TestProject, use: (workspace: Workspace) => T | Promise<T>): Promise<T> {
  const workspace = openWorkspace(root);
  try {
    return await use(workspace);
  } finally {
    await workspace.close();
  }
}

export function of<T extends Event['type']>(events: readonly Event[], type: T): Extract<Event, { type: T }>[] {
  return events.filter((event): event is Extract<Event, { type: T }> => event.type === type);
}

const published = ({ root }: TestProject) =>
  ['last.txt', 'counted.txt'].map((name) => readFileSync(join(root, 'results/test', name), 'utf8'));

/** The tests. */
export function testSharedCache(kind: string, backend: Backend): void {
  describe(`${kind} as a shared cache`, () => {
    beforeEach(async () => {
      const { address, env = {} } = await backend.fresh();
      vi.stubEnv('PIPE_CACHE_REMOTE', address);
      for (const [name, value] of Object.entries(env)) vi.stubEnv(name, value);
    });
    afterEach(clearMachines);

    /** What a task left in the store of the machine that ran it. */
    const artifactOf = (project: TestProject, id: string) =>
      opened(project, ({ store }) => {
        const entry = [...store.catalog.all()].find(({ task }) => task === id)!;
        return { key: entry.key, digest: entry.outputs.out!.digest };
      });

    test('another machine executes nothing, fetches what is published and no more, and knows the lineage', async () => {
      const [a, b] = [machine(), machine()];
      const cold = await run(study(a));
      expect(cold.executed.toSorted()).toEqual(all);
      expect(of(cold.events, 'remote-tally')).toMatchObject([{ taken: 0, sent: 5, unsent: 0 }]);

      const looker = machine();
      const { counts } = await opened(looker, (workspace) => makePlan(workspace, study(looker)));
      expect(counts).toMatchObject({ fresh: 5 });
      const warm = await run(study(b));
      expect(warm.executed).toEqual([]);
      expect(warm.outcome).toMatchObject({ status: 'done', counts: { cached: 5, executed: 0 } });
      expect(of(warm.events, 'remote-tally')).toMatchObject([{ taken: 5, sent: 0 }]);
      expect(published(b)).toEqual(published(a));
      const { digest } = await artifactOf(a, 'second');
      await opened(b, async (workspace) => {
        expect(workspace.store.hasBlob(digest)).toBe(false);
        const { nodes } = lineage(workspace, 'results/test/last.txt');
        expect(nodes.map((node) => (node.kind === 'task' ? node.task : node.path))).toEqual(
          expect.arrayContaining(['last', 'second', 'first', 'data/raw.txt']),
        );
        expect((await verify(workspace)).damaged).toEqual([]);
      });
      // Nothing is asked for again.
      const third = await run(study(b));
      expect(third.executed).toEqual([]);
      expect(of(third.events, 'remote-tally')).toEqual([]);
    });

    test('what an edit makes stale is executed on the results of another machine, and sent', async () => {
      const [a, b, c] = [machine(), machine(), machine()];
      await run(study(a));
      const edited = await run(study(b, 'other'));
      expect(edited.executed).toEqual(['last']);
      expect(of(edited.events, 'remote-tally')).toMatchObject([{ taken: 4, sent: 1 }]);
      expect(published(b)[0]).toBe(`${'raw\n'.repeat(1000)}firstsecondother`);
      expect((await run(study(c, 'other'))).executed).toEqual([]);
    });

    test('wrong bytes under a hash are put aside, the task runs again, and the cache is mended', async () => {
      const [a, b, c] = [machine(), machine(), machine()];
      await run(study(a));
      const { digest } = await artifactOf(a, 'last');
      const sent = await backend.read('cas', digest);
      await backend.write('cas', digest, Buffer.concat([sent.subarray(0, -1), Buffer.from('!')]));
      const mended = await run(study(b));
      expect(mended.executed).toEqual(['last']);
      expect(mended.outcome.status).toBe('done');
      expect(of(mended.events, 'quarantined').map(({ path }) => path)).toEqual([expect.stringContaining(digest)]);
      expect(readdirSync(join(b.root, 'cache/quarantine'))).toEqual([expect.stringContaining(digest)]);
      expect(published(b)).toEqual(published(a));
      expect((await run(study(c))).executed).toEqual([]);
    });

    test('a blob cut short, a blob that is gone, and records that are none count as misses', async () => {
      const [a, b] = [machine(), machine()];
      await run(study(a));
      const last = await artifactOf(a, 'last');
      const files = await artifactOf(a, 'files');
      const counted = await artifactOf(a, 'counted');
      await backend.write('cas', last.digest, (await backend.read('cas', last.digest)).subarray(0, 20));
      await backend.remove('cas', files.digest);
      await backend.write('ac', counted.key, Buffer.from('{"key":'));
      const { executed, outcome, events } = await run(study(b));
      expect(executed.toSorted()).toEqual(['counted', 'files', 'last']);
      expect(outcome.status).toBe('done');
      expect(of(events, 'remote-distrusted').map(({ key }) => key)).toEqual([counted.key]);
      expect(published(b)).toEqual(published(a));
    });

    test('records signed with a key are believed by its holder alone; unsigned and altered ones are not', async () => {
      const [a, b, c, d] = [machine(), machine(), machine(), machine()];
      await run(study(a));
      vi.stubEnv('PIPE_CACHE_KEY', 'a key of the project 1');
      const unsigned = await run(study(b));
      expect(unsigned.executed.toSorted()).toEqual(all);
      expect(of(unsigned.events, 'remote-distrusted').map(({ problem }) => problem)).toContain('is not signed');
      expect((await run(study(c))).executed).toEqual([]);

      // Somebody without the key makes the record of `last` name other, sound content.
      const last = await artifactOf(a, 'last');
      const first = await artifactOf(a, 'first');
      const record = parseChecked(await backend.read('ac', last.key)) as { outputs: { out: { digest: string } } };
      record.outputs.out.digest = first.digest;
      await backend.write('ac', last.key, Buffer.from(checkedJson(record)));
      const forged = await run(study(d));
      expect(forged.executed).toEqual(['last']);
      expect(published(d)).toEqual(published(a));

      vi.stubEnv('PIPE_CACHE_KEY', 'another key entirely');
      expect((await run(study(machine()))).executed.toSorted()).toEqual(all);
    });

    test('the record of another task, and a path that climbs out, are refused', async () => {
      const [a, b] = [machine(), machine()];
      await run(study(a));
      const records = await opened(a, ({ store }) => [...store.catalog.all()].map(({ key }) => store.readRecord(key)!));
      const [first, second] = ['first', 'second'].map((id) => records.find(({ task }) => task === id)!);
      await backend.write('ac', first!.key, Buffer.from(foreignText(second!, null)));
      // A folder whose listing leads out of it, named by a record that is otherwise in order.
      const files = records.find(({ task }) => task === 'files')!;
      const listing = await opened(a, ({ store }) => store.readBlob(files.outputs.out!.digest).toString());
      const climbing = listing.replace('one.txt', '../../../one.txt');
      const { createHash } = await import('node:crypto');
      const digest = createHash('sha256').update(climbing).digest('hex');
      await backend.write('cas', digest, Buffer.from(climbing));
      const outputs = { out: { ...files.outputs.out!, digest } };
      await backend.write('ac', files.key, Buffer.from(foreignText({ ...files, outputs }, null)));
      const counted = records.find(({ task }) => task === 'counted')!;
      await backend.remove('ac', counted.key);
      const { executed, outcome } = await run(study(b));
      expect(outcome.status).toBe('done');
      expect(executed.toSorted()).toEqual(['counted', 'files', 'first']);
      expect(existsSync(join(b.root, '..', 'one.txt'))).toBe(false);
      expect(published(b)).toEqual(published(a));
    });

    test('read-only takes and sends nothing', async () => {
      const [a, b, c] = [machine(), machine(), machine()];
      vi.stubEnv('PIPE_CACHE_MODE', 'read-only');
      expect((await run(study(a))).executed.toSorted()).toEqual(all);
      expect(await backend.list('ac')).toEqual([]);
      vi.stubEnv('PIPE_CACHE_MODE', 'read-write');
      await run(study(b));
      expect(await backend.list('ac')).toHaveLength(5);
      vi.stubEnv('PIPE_CACHE_MODE', 'read-only');
      expect((await run(study(c, 'other'))).executed).toEqual(['last']);
      expect(await backend.list('ac')).toHaveLength(5);
    });
  });
}
