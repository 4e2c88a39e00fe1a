/** `pipe serve`: shows results, and runs while they go on, in a browser. It reads; nothing can be started or changed through it. */
import { createReadStream, existsSync, readdirSync, realpathSync, statSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { basename, extname, join, relative, sep } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { errorCode, UsageError } from '../engine/errors.ts';
import { followJournal } from '../engine/journal.ts';
import { pathProblem } from '../engine/paths.ts';
import { openProject, type Project } from '../engine/project.ts';
import { listRuns, readRun, runIds } from '../engine/runs.ts';
import { interruptible } from './interruption.ts';
import { page } from './serve_page.ts';
import { print } from './text.ts';

export interface ServeOptions {
  readonly host: string;
  readonly port: number;
}

/** Serves until it is interrupted. @returns 0. @throws UsageError when the address cannot be had. */
export async function serve({ host, port }: ServeOptions): Promise<number> {
  const project = openProject(process.cwd());
  const interruption = interruptible();
  const { signal } = interruption;
  const isLoopback = ['127.0.0.1', '::1', 'localhost'].includes(host);
  const server = createServer((request, response) => {
    answer(project, isLoopback, request, response, signal).catch((thrown: unknown) => {
      // A browser that goes away in the middle of an answer is no error.
      if (!response.headersSent) refuse(response, 500, 'it could not be read');
      response.destroy();
      if (!signal.aborted && errorCode(thrown) === undefined) throw thrown;
    });
  });
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', reject);
      server.listen(port, host, resolve);
    });
  } catch (thrown) {
    interruption.end();
    const why = errorCode(thrown) === 'EADDRINUSE' ? 'is in use' : `cannot be listened at (${errorCode(thrown)})`;
    throw new UsageError(`port ${port} of ${host} ${why}\n  choose another: --port NUMBER`);
  }
  const { port: given } = server.address() as AddressInfo;
  print(`${basename(project.root)} at http://${host.includes(':') ? `[${host}]` : host}:${given}/; Ctrl-C ends`);
  await new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true }));
  server.closeAllConnections();
  await new Promise((resolve) => server.close(resolve));
  interruption.end();
  return 0;
}

async function answer(
  project: Project,
  isLoopback: boolean,
  request: IncomingMessage,
  response: ServerResponse,
  signal: AbortSignal,
): Promise<void> {
  response.setHeader('X-Content-Type-Options', 'nosniff');
  response.setHeader('Cache-Control', 'no-store');
  if (request.method !== 'GET' && request.method !== 'HEAD') return refuse(response, 405, 'this server only shows');
  // A page elsewhere may have its own name lead to 127.0.0.1: what is asked for by another name is not for it.
  const asked = (request.headers.host ?? '').replace(/:\d+$/, '');
  if (isLoopback && !['127.0.0.1', 'localhost', '[::1]'].includes(asked))
    return refuse(response, 403, 'ask for localhost');
  const path = pathOf(request.url ?? '/');
  if (path === null) return refuse(response, 400, 'no path');
  if (path === '/') return send(response, 'text/html; charset=utf-8', page(basename(project.root)), pagePolicy);
  if (path === '/api/state') return send(response, 'application/json', JSON.stringify(stateOf(project)));
  const run = /^\/api\/runs\/([\w.-]+)\/events$/.exec(path)?.[1];
  if (run !== undefined) return sendEvents(project, run, request, response, signal);
  if (path.startsWith('/results/')) return sendResult(project, path.slice('/results/'.length), response);
  return refuse(response, 404, 'there is nothing here');
}

/** The path of an address, decoded; null when it is none. */
function pathOf(url: string): string | null {
  try {
    return decodeURIComponent(url.replace(/[?#].*$/s, ''));
  } catch {
    return null;
  }
}

function refuse(response: ServerResponse, status: number, why: string): void {
  response.writeHead(status, { 'Content-Type': 'text/plain; charset=utf-8' }).end(`${why}\n`);
}

/** The page brings all that it needs, and talks to this server alone. */
const pagePolicy = "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; connect-src 'self'";
/** What a run published may hold scripts of its own: they run, and reach nothing here. */
const resultPolicy = 'sandbox allow-scripts allow-popups';

function send(response: ServerResponse, type: string, body: string, policy?: string): void {
  if (policy !== undefined) response.setHeader('Content-Security-Policy', policy);
  response.writeHead(200, { 'Content-Type': type }).end(body);
}

/** The newest runs and what lies under results/. */
function stateOf({ cache, results }: Project): object {
  const runs: object[] = [];
  for (const { id, pipeline, profile, status, startedAt, finishedAt, tasks } of listRuns(cache)) {
    const outcomes: Record<string, number> = {};
    for (const { outcome } of Object.values(tasks)) outcomes[outcome] = (outcomes[outcome] ?? 0) + 1;
    if (runs.push({ id, pipeline, profile, status, startedAt, finishedAt, outcomes }) === shownRuns) break;
  }
  const names = existsSync(results) ? readdirSync(results, { withFileTypes: true }) : [];
  const published = names
    .filter((entry) => entry.isDirectory())
    .map(({ name }) => {
      // Links are not followed: they may lead anywhere, and in circles.
      const files = readdirSync(join(results, name), { withFileTypes: true, recursive: true })
        .filter((entry) => entry.isFile() && !entry.name.startsWith('.'))
        .map((entry) => relative(join(results, name), join(entry.parentPath, entry.name)));
      return { name, files: files.sort().slice(0, shownFiles), count: files.length };
    });
  return { runs, results: published };
}

const shownRuns = 30;
const shownFiles = 200;

/** The journal of a run as server-sent events, as it grows; `end` when it is over. */
async function sendEvents(
  { cache }: Project,
  run: string,
  request: IncomingMessage,
  response: ServerResponse,
  signal: AbortSignal,
): Promise<void> {
  if (!runIds(cache).includes(run)) return refuse(response, 404, 'there is no such run');
  response.writeHead(200, { 'Content-Type': 'text/event-stream' });
  response.flushHeaders();
  const gone = new AbortController();
  request.on('close', () => gone.abort());
  try {
    for await (const event of followJournal(cache, run, AbortSignal.any([signal, gone.signal])))
      response.write(`data: ${JSON.stringify(event)}\n\n`);
    response.end(`event: end\ndata: ${JSON.stringify({ status: readRun(cache, run)?.status ?? null })}\n\n`);
  } catch (thrown) {
    if (!signal.aborted && !gone.signal.aborted) throw thrown;
    response.end();
  }
}

/** A published file. Neither `..` nor a symbolic link leads out of results/. */
async function sendResult({ results }: Project, path: string, response: ServerResponse): Promise<void> {
  if (pathProblem(path) !== null) return refuse(response, 403, 'the path leads out of results/');
  let file: string;
  try {
    file = realpathSync(join(results, path));
  } catch {
    return refuse(response, 404, 'there is no such file');
  }
  if (!file.startsWith(realpathSync(results) + sep)) return refuse(response, 403, 'the path leads out of results/');
  const stat = statSync(file);
  if (!stat.isFile() || basename(path).startsWith('.')) return refuse(response, 404, 'there is no such file');
  response.writeHead(200, {
    'Content-Type': types[extname(file)] ?? 'application/octet-stream',
    'Content-Length': stat.size,
    'Content-Security-Policy': resultPolicy,
  });
  await pipeline(createReadStream(file), response);
}

const types: Readonly<Record<string, string>> = {
  '.csv': 'text/plain; charset=utf-8',
  '.html': 'text/html; charset=utf-8',
  '.json': 'application/json',
  '.md': 'text/plain; charset=utf-8',
  '.png': 'image/png',
  '.svg': 'image/svg+xml',
  '.txt': 'text/plain; charset=utf-8',
};
