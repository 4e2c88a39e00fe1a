/** An HTTP server as a shared cache: the real nginx of Debian, which takes wrong bytes under any name without a word. */
import { execFileSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { run } from './support/engine.ts';
import { freePort, installed } from './support/ports.ts';
import { all, type Backend, clearMachines, machine, of, opened, study, testSharedCache } from './support/remote.ts';

const script = join(import.meta.dirname, 'servers', 'nginx.sh');
const token = 'a-token-that-nobody-may-see';
const home = mkdtempSync(join(tmpdir(), 'pipe-nginx-'));
let base = '';
let parts = 0;
let part = '';

const pathOf = (area: string, digest: string) => join(home, 'store', part, area, digest);

const backend: Backend = {
  async fresh() {
    parts += 1;
    part = `part-${parts}`;
    return { address: `${base}/${part}` };
  },
  async list(area) {
    try {
      return readdirSync(join(home, 'store', part, area));
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

const missing = installed('nginx');
if (missing !== null) console.log(`skipped: a shared cache behind nginx (${missing}; Debian: nginx-light)`);

describe.skipIf(missing !== null)('nginx', () => {
  beforeAll(async () => {
    const port = await freePort();
    execFileSync(script, ['up', home, String(port), token], { stdio: 'inherit' });
    base = `http://127.0.0.1:${port}`;
  });
  afterAll(() => {
    execFileSync(script, ['down', home]);
    rmSync(home, { recursive: true, maxRetries: 5 });
  });
  afterEach(clearMachines);

  testSharedCache('an HTTP server', backend);

  test('text crosses the network as zstd; `compression: none` sends it as it is', async () => {
    const { address } = await backend.fresh();
    vi.stubEnv('PIPE_CACHE_REMOTE', address);
    const a = machine();
    await run(study(a));
    const digest = await opened(a, ({ store }) => {
      return [...store.catalog.all()].find(({ task }) => task === 'last')!.outputs.out!.digest;
    });
    const bytes = statSync(join(a.root, 'results/test/last.txt')).size;
    expect(statSync(pathOf('cas', digest)).size).toBeLessThan(bytes / 10);
    vi.unstubAllEnvs();
    await backend.fresh();
    const b = machine();
    b.write('pipe.config.yaml', `cache:\n  remote: ${base}/${part}\n  compression: none\n`);
    await run(study(b));
    expect(statSync(pathOf('cas', digest)).size).toBe(bytes);
  });

  test('a token opens what is closed, and is in no record, log, message or file; without it the run goes on alone', async () => {
    vi.stubEnv('PIPE_CACHE_REMOTE', `${base}/private`);
    part = 'private';
    const refused = await run(study(machine()));
    expect(refused.executed.toSorted()).toEqual(all);
    expect(of(refused.events, 'remote-resting').map(({ problem }) => problem)).toEqual([
      'it refuses the request (401): see that PIPE_CACHE_TOKEN, or PIPE_CACHE_USER and PIPE_CACHE_PASSWORD, may do this',
    ]);
    vi.stubEnv('PIPE_CACHE_TOKEN', token);
    const [a, b] = [machine(), machine()];
    const sent = await run(study(a));
    const taken = await run(study(b));
    expect(taken.executed).toEqual([]);
    expect(await backend.list('ac')).toHaveLength(5);
    expect(JSON.stringify([sent.events, taken.events])).not.toContain(token);
    for (const folder of [a.root, b.root, join(home, 'store')]) {
      for (const name of readdirSync(folder, { recursive: true, encoding: 'utf8' })) {
        const path = join(folder, name);
        if (statSync(path).isFile()) expect(readFileSync(path).includes(token), path).toBe(false);
      }
    }
  });
});
