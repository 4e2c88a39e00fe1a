/** A folder as a shared cache. */
import {
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  symlinkSync,
  utimesSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, afterEach, describe, expect, test, vi } from 'vitest';
import { collectGarbage } from '../engine/gc.ts';
import { lineage } from '../engine/lineage.ts';
import { makePlan } from '../engine/plan.ts';
import { run } from './support/engine.ts';
import { all, type Backend, clearMachines, machine, of, opened, study, testSharedCache } from './support/remote.ts';

const home = mkdtempSync(join(tmpdir(), 'pipe-remote-'));
afterAll(() => rmSync(home, { recursive: true }));
let folders = 0;
let folder = home;

const pathOf = (area: string, digest: string) => join(folder, area, digest.slice(0, 2), digest);

const backend: Backend = {
  async fresh() {
    folders += 1;
    folder = join(home, String(folders));
    return { address: folder };
  },
  async list(area) {
    try {
      return readdirSync(join(folder, area), { recursive: true, encoding: 'utf8' }).filter((name) =>
        name.includes('/'),
      );
    } catch {
      return [];
    }
  },
  read: async (area, digest) => readFileSync(pathOf(area, digest)),
  async write(area, digest, content) {
    mkdirSync(dirname(pathOf(area, digest)), { recursive: true });
    writeFileSync(pathOf(area, digest), content);
  },
  remove: async (area, digest) => rmSync(pathOf(area, digest)),
};

testSharedCache('a folder', backend);

describe('a folder', () => {
  afterEach(clearMachines);

  test('takes what two machines send at the same time, and is then whole for a third', async () => {
    const { address } = await backend.fresh();
    vi.stubEnv('PIPE_CACHE_REMOTE', address);
    const [a, b, c] = [machine(), machine(), machine()];
    const both = await Promise.all([run(study(a)), run(study(b))]);
    expect(both.map(({ outcome }) => outcome.status)).toEqual(['done', 'done']);
    expect((await run(study(c))).executed).toEqual([]);
    expect(readdirSync(join(address, 'tmp'))).toEqual([]);
  });

  test('has the layout of a local cache: it can be copied into one', async () => {
    const { address } = await backend.fresh();
    vi.stubEnv('PIPE_CACHE_REMOTE', address);
    await run(study(machine()));
    vi.stubEnv('PIPE_CACHE_REMOTE', 'none');
    const b = machine();
    for (const area of ['ac', 'cas']) symlinkSync(join(address, area), join(mkdirs(join(b.root, 'cache')), area));
    expect((await run(study(b))).executed).toEqual([]);
  });

  test('a link in it is not followed, and what a dead machine left half-written goes by its age', async () => {
    const { address } = await backend.fresh();
    vi.stubEnv('PIPE_CACHE_REMOTE', address);
    const a = machine();
    await run(study(a));
    const key = await opened(a, ({ store }) => [...store.catalog.all()].find(({ task }) => task === 'last')!.key);
    const content = readFileSync(pathOf('ac', key));
    const elsewhere = join(a.root, 'elsewhere');
    writeFileSync(elsewhere, content);
    rmSync(pathOf('ac', key));
    symlinkSync(elsewhere, pathOf('ac', key));
    const old = join(address, 'tmp', 'host-1-abc');
    const young = join(address, 'tmp', 'host-2-def');
    writeFileSync(old, 'half');
    utimesSync(old, 1e9, 1e9);
    writeFileSync(young, 'half');
    const { executed } = await run(study(machine()));
    expect(executed).toEqual(['last']);
    expect(readdirSync(join(address, 'tmp'))).toEqual(['host-2-def']);
  });

  test('what it has of the results that a run stands on outlives gc, with the lineage; what a look alone asked for goes', async () => {
    const { address } = await backend.fresh();
    vi.stubEnv('PIPE_CACHE_REMOTE', address);
    await run(study(machine()));
    await run(study(machine(), 'other', 'begins otherwise'));
    const b = machine();
    await run(study(b));
    await opened(b, (workspace) => makePlan(workspace, study(b, 'other', 'begins otherwise')));
    await opened(b, (workspace) => {
      // first, second and last of the other study.
      expect(collectGarbage(workspace, {}).promises).toHaveLength(3);
      expect(lineage(workspace, 'results/test/last.txt').nodes.length).toBeGreaterThan(3);
    });
    vi.stubEnv('PIPE_CACHE_REMOTE', 'none');
    expect((await run(study(b))).executed.toSorted()).toEqual(['files', 'first', 'second']);
  });

  test('that cannot be written fails no run, and says so once', async () => {
    const { address } = await backend.fresh();
    writeFileSync(address, 'a file, not a folder');
    vi.stubEnv('PIPE_CACHE_REMOTE', address);
    const { executed, outcome, events } = await run(study(machine()));
    expect(executed.toSorted()).toEqual(all);
    expect(outcome.status).toBe('done');
    expect(of(events, 'remote-resting')).toHaveLength(1);
    expect(of(events, 'remote-tally')).toMatchObject([{ sent: 0, unsent: 5 }]);
  });
});

function mkdirs(path: string): string {
  mkdirSync(path, { recursive: true });
  return path;
}
