/** `pipe serve`: what it shows, as it happens; and what it does not. */
import { execFileSync, spawn } from 'node:child_process';
import { existsSync, symlinkSync, writeFileSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import { beforeEach, expect, onTestFinished, test } from 'vitest';
import { folderWith, pipeCommand, type TestFolder } from './support/pipe_command.ts';

let folder: TestFolder;
let port: number;
let server: ReturnType<typeof spawn>;

beforeEach(async () => {
  folder = folderWith({
    'package.json': '{}',
    'secret.txt': 'not for the web',
    'pipelines/p.yaml': `stages:
  first: { run: 'echo "<b>1</b>" > a.html', shell: true, out: { a: a.html } }
  gate: { run: 'while [ ! -e ../../../../go ]; do sleep 0.02; done; cp \${{ in.a }} b', shell: true, in: { a: first.a }, out: { b: b } }
publish: { report.html: first.a }
`,
  });
  server = spawn(process.execPath, [pipeCommand, 'serve', '--port', '0'], { cwd: folder.root });
  onTestFinished(() => void server.kill('SIGKILL'));
  port = await new Promise((resolve, reject) => {
    server.stdout!.setEncoding('utf8').on('data', (text: string) => {
      const found = /http:\/\/127\.0\.0\.1:(\d+)\//.exec(text);
      if (found !== null) resolve(Number(found[1]));
    });
    server.on('exit', () => reject(new Error('the server ended')));
  });
});

interface Answer {
  readonly status: number;
  readonly body: string;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
}

/** Asks as no browser would: the path goes out as it is. `until` ends an answer that does not end. */
function ask(
  path: string,
  { method = 'GET', host = `localhost:${port}`, until = (_: string): boolean => false } = {},
): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const asked = request({ port, host: '127.0.0.1', path, method, headers: { host } }, (response) => {
      let body = '';
      const answer = () => resolve({ status: response.statusCode!, body, headers: response.headers });
      response.setEncoding('utf8').on('data', (text: string) => {
        body += text;
        if (until(body)) {
          answer();
          asked.destroy();
        }
      });
      response.on('end', answer);
      response.on('error', () => undefined);
    });
    asked.on('error', reject);
    asked.end();
  });
}

const eventsOf = (body: string) => [...body.matchAll(/^data: (.*)$/gm)].map(([, data]) => JSON.parse(data!));

test('tells the runs, what is published, and the events of a run as they come', async () => {
  expect(JSON.parse((await ask('/api/state')).body)).toEqual({ runs: [], results: [] });
  const run = folder.pipe(['run', 'p']);
  let id = '';
  for (let tries = 0; id === ''; tries++) {
    expect(tries).toBeLessThan(2000);
    const { runs } = JSON.parse((await ask('/api/state')).body);
    if (runs.length > 0 && runs[0].status === 'running') id = runs[0].id;
  }
  const live = await ask(`/api/runs/${id}/events`, { until: (body) => body.includes('"task-started","task":"gate"') });
  expect(live.headers['content-type']).toBe('text/event-stream');
  const types = eventsOf(live.body).map(({ type, task }) => (task === undefined ? type : `${type} ${task}`));
  expect(types).toEqual(['run-started', 'cached', 'task-started first', 'task-done first', 'task-started gate']);

  const whole = ask(`/api/runs/${id}/events`);
  writeFileSync(join(folder.root, 'go'), '');
  const { body } = await whole;
  expect(eventsOf(body).at(-2)).toMatchObject({ type: 'run-finished', status: 'done', counts: { executed: 2 } });
  expect(body).toMatch(/\nevent: end\ndata: \{"status":"done"\}\n\n$/);
  await run;
  const { runs, results } = JSON.parse((await ask('/api/state')).body);
  expect(runs).toEqual([expect.objectContaining({ id, pipeline: 'p', status: 'done', outcomes: { executed: 2 } })]);
  expect(results).toEqual([{ name: 'p', files: ['report.html'], count: 1 }]);
  const report = await ask('/results/p/report.html');
  expect([report.status, report.body, report.headers['content-type']]).toEqual([
    200,
    '<b>1</b>\n',
    'text/html; charset=utf-8',
  ]);
  expect(report.headers['content-security-policy']).toBe('sandbox allow-scripts allow-popups');
  expect((await ask('/api/runs/20990101T000000.000-p-000000/events')).status).toBe(404);
}, 120_000);

test('nothing outside results/ is read, by whatever path, and nothing is written', async () => {
  writeFileSync(join(folder.root, 'go'), '');
  await folder.pipe(['run', 'p']);
  symlinkSync(join(folder.root, 'secret.txt'), join(folder.root, 'results/p/link.txt'));
  symlinkSync(folder.root, join(folder.root, 'results/p/up'));
  const paths = [
    '/results/../secret.txt',
    '/results/%2e%2e/secret.txt',
    '/results/p/..%2f..%2fsecret.txt',
    '/results/p/%2e%2e/%2e%2e/secret.txt',
    '/results/..%5csecret.txt',
    '/results//etc/passwd',
    `/results/${encodeURIComponent(join(folder.root, 'secret.txt'))}`,
    '/results/p/link.txt',
    '/results/p/up/secret.txt',
    '/results/p/.pipe-publications.json',
    '/results/p/report.html%00.txt',
    '/results/',
    '/results/p',
    '/secret.txt',
    '/../secret.txt',
    '/results/%',
    '/api/runs/..%2f..%2fsecret/events',
    '/%c0%ae%c0%ae/secret.txt',
  ];
  for (const path of paths) {
    const { status, body } = await ask(path);
    expect([path, status >= 400 && status < 500, body.includes('not for the web')]).toEqual([path, true, false]);
  }
  for (const method of ['POST', 'PUT', 'DELETE', 'OPTIONS'])
    expect((await ask('/api/state', { method })).status).toBe(405);
  // Another site whose name leads here (DNS rebinding) is told nothing.
  expect((await ask('/api/state', { host: 'evil.example' })).status).toBe(403);
  expect((await ask('/api/state', { host: `127.0.0.1:${port}` })).status).toBe(200);
});

test('ends on Ctrl-C, and says when a port is taken', async () => {
  const { code, err } = await folder.pipe(['serve', '--port', String(port)]);
  expect([code, err]).toEqual([2, `port ${port} of 127.0.0.1 is in use\n  choose another: --port NUMBER\n`]);
  const ended = new Promise((resolve) => server.on('exit', resolve));
  server.kill('SIGINT');
  expect(await ended).toBe(0);
});

const chromium = ['/usr/bin/chromium', '/usr/bin/chromium-browser'].find((path) => existsSync(path));
const why = chromium === undefined ? ' (skipped: no chromium)' : '';

test.skipIf(chromium === undefined)(
  `the page shows runs, tasks and results in a browser${why}`,
  async () => {
    writeFileSync(join(folder.root, 'go'), '');
    await folder.pipe(['run', 'p']);
    const page = await ask('/');
    expect(page.headers['content-security-policy']).toMatch(/^default-src 'none'/);
    expect(page.body).not.toMatch(/https?:\/\//);
    const dom = execFileSync(
      chromium!,
      [
        '--headless=new',
        '--no-sandbox',
        '--disable-gpu',
        '--virtual-time-budget=4000',
        '--dump-dom',
        `http://127.0.0.1:${port}/`,
      ],
      { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'], timeout: 90_000 },
    );
    expect(dom).toMatch(/<h2 id="run-title">p <span class="done">done<\/span><\/h2>/);
    expect(dom).toContain('2 tasks: 2 done');
    expect(dom).toMatch(/class="task done"><span class="name" title="gate">gate/);
    expect(dom).toMatch(/href="\/results\/p\/report\.html"/);
  },
  120_000,
);
