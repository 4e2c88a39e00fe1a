/** Servers that misbehave: what a run does then, and what it costs. Each is a small server on loopback. */

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test, vi } from 'vitest';
import { makeGraph, makeTask, run } from './support/engine.ts';
import { type Answer, honest, type ObjectServer, serveObjects } from './support/object_server.ts';
import { freePort } from './support/ports.ts';
import { all, clearMachines, machine, of, study } from './support/remote.ts';

let server: ObjectServer | null = null;
let requests: string[] = [];
const objects = new Map<string, Buffer>();

beforeEach(() => {
  requests = [];
  objects.clear();
});
afterEach(() => {
  server?.close();
  server = null;
  clearMachines();
});

/** Starts a server that answers so, and makes it the shared cache of the machines. */
async function serve(answer: Answer): Promise<void> {
  server?.close();
  server = await serveObjects((request, response) => {
    requests.push(`${request.method} ${request.url}`);
    answer(request, response, objects);
  });
  vi.stubEnv('PIPE_CACHE_REMOTE', server.address);
}

/** Sixty tasks that do not depend on each other. */
function wide(root: string) {
  const ids = Array.from({ length: 60 }, (_, i) => `t${i}`);
  return makeGraph(
    root,
    ids.map((id) => makeTask(root, id, 'echo')),
  );
}

test('a port that nobody listens on costs one refusal with its further attempts, not one a task', async () => {
  vi.stubEnv('PIPE_CACHE_REMOTE', `http://127.0.0.1:${await freePort()}`);
  const a = machine();
  const { outcome, executed, events } = await run(wide(a.root));
  expect(outcome.status).toBe('done');
  expect(executed).toHaveLength(60);
  expect(of(events, 'remote-resting')).toMatchObject([
    { problem: expect.stringContaining('ECONNREFUSED'), seconds: 60 },
  ]);
  expect(of(events, 'remote-tally')).toMatchObject([{ sent: 0, unsent: 60 }]);
  // Before the first task starts: three attempts, with about 0.2 and 1 s between them.
  const [begun, first] = [of(events, 'run-started')[0]!.at, of(events, 'task-started')[0]!.at];
  expect(first - begun).toBeLessThan(30_000);
});

test('a server that takes the connection and says nothing costs its timeout once', async () => {
  await serve(() => undefined);
  const a = machine();
  a.write('pipe.config.yaml', 'cache: { remote: unused, timeout: 0.5 }\n');
  const { outcome, executed, events } = await run(wide(a.root));
  expect(outcome.status).toBe('done');
  expect(executed).toHaveLength(60);
  expect(of(events, 'remote-resting')).toMatchObject([{ problem: 'it gave no sign of life for 0.5 s' }]);
  const [begun, first] = [of(events, 'run-started')[0]!.at, of(events, 'task-started')[0]!.at];
  expect(first - begun).toBeLessThan(30_000);
  // What was asked at the same time, and nothing afterwards.
  expect(requests.length).toBeLessThanOrEqual(24);
});

test('a body that stops coming is given up', async () => {
  await serve(honest);
  await run(study(machine()));
  const blob = (path: string) => path.startsWith('/cas/');
  await serve((request, response, kept) => {
    if (request.method !== 'GET' || !blob(request.url!)) return honest(request, response, kept);
    response.writeHead(200, { 'content-length': 1 << 20 });
    response.write('the beginning');
  });
  const b = machine();
  b.write('pipe.config.yaml', 'cache: { remote: unused, timeout: 0.5 }\n');
  const { outcome, executed } = await run(study(b));
  expect(outcome.status).toBe('done');
  expect(executed).toContain('last');
});

test('a server whose every answer is 503 is asked three times, then left alone', async () => {
  await serve((request, response) => {
    request.resume();
    response.writeHead(503).end('busy');
  });
  const a = machine();
  const one = makeGraph(a.root, [makeTask(a.root, 'one', 'echo')]);
  const { outcome, executed, events } = await run(one);
  expect(outcome.status).toBe('done');
  expect(executed).toEqual(['one']);
  expect(requests).toHaveLength(3);
  expect(new Set(requests)).toEqual(new Set([requests[0]]));
  expect(of(events, 'remote-resting')).toMatchObject([{ problem: 'it answers 503' }]);
});

test('two refusals of three attempts do not matter', async () => {
  const counts = new Map<string, number>();
  await serve((request, response, kept) => {
    const name = `${request.method} ${request.url}`;
    const count = (counts.get(name) ?? 0) + 1;
    counts.set(name, count);
    if (count % 3 === 0) return honest(request, response, kept);
    request.resume();
    if (count % 3 === 1) response.writeHead(500).end();
    else request.socket.destroy();
  });
  const a = machine();
  const one = (root: string) => makeGraph(root, [makeTask(root, 'one', 'echo')]);
  const sent = await run(one(a.root));
  expect(of(sent.events, 'remote-tally')).toMatchObject([{ sent: 1, unsent: 0 }]);
  expect((await run(one(machine().root))).executed).toEqual([]);
});

test('bodies that break off are no results: the tasks run, and the rest is taken', async () => {
  await serve(honest);
  await run(study(machine()));
  const counts = new Map<string, number>();
  await serve((request, response, kept) => {
    const object = kept.get(request.url!);
    if (request.method !== 'GET' || !request.url!.startsWith('/cas/') || object === undefined)
      return honest(request, response, kept);
    counts.set(request.url!, (counts.get(request.url!) ?? 0) + 1);
    response.writeHead(200, { 'content-length': object.length });
    response.write(object.subarray(0, object.length >> 1), () => request.socket.destroy());
  });
  const b = machine();
  const { outcome, executed, events } = await run(study(b));
  expect(outcome.status).toBe('done');
  expect(executed.toSorted()).toEqual(all);
  expect(of(events, 'remote-resting')).toEqual([]);
  expect(of(events, 'quarantined').length).toBeGreaterThan(0);
  expect(Math.max(...counts.values())).toBe(3);
  expect(readFileSync(join(b.root, 'results/test/last.txt'), 'utf8')).toContain('firstsecondlast');
});

test('every answer is another page: nothing of it gets in, whatever its status', async () => {
  await serve((request, response) => {
    request.resume();
    response.writeHead(200, { 'content-type': 'text/html' });
    response.end(request.method === 'HEAD' ? undefined : '<html>Sign in to this network</html>');
  });
  const a = machine();
  const { outcome, executed, events } = await run(study(a));
  expect(outcome.status).toBe('done');
  expect(executed.toSorted()).toEqual(all);
  expect(of(events, 'remote-distrusted').length).toBeGreaterThan(0);
});

test('an interrupted run does not wait for what it is sending', async () => {
  const controller = new AbortController();
  await serve((request, response, kept) => {
    if (request.method !== 'PUT') return honest(request, response, kept);
    controller.abort();
  });
  const a = machine();
  const { outcome } = await run(study(a), { signal: controller.signal });
  expect(['interrupted', 'done']).toContain(outcome.status);
  expect(requests.filter((request) => request.startsWith('PUT')).length).toBeGreaterThan(0);
});
