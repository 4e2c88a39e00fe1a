/** What a shared cache costs a plan of 1,000 tasks of which nothing is in the store: a folder, HTTP on loopback, and a dead port. */
import { rmSync } from 'node:fs';
import { createServer, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { makePlan } from '../engine/plan.ts';
import { pushResults } from '../engine/remote/sync.ts';
import { inFolder, makeProject, recordAll, withGraph } from './engine_project.ts';
import { type Figure, type Subject, sampleOf, takeTurns } from './figure.ts';

const tasks = 1000;

export const sharedCache: Subject = { name: 'shared-cache', measure };

function measure(rounds: number): Promise<Figure[]> {
  return inFolder(async (home) => {
    const server = await serveMap();
    const port = (server.address() as AddressInfo).port;
    const before = process.env.PIPE_CACHE_REMOTE;
    try {
      const root = makeProject(home, tasks);
      const folder = join(home, 'shared');
      const http = `http://127.0.0.1:${port}`;
      await withGraph(root, recordAll);
      for (const address of [folder, http]) {
        process.env.PIPE_CACHE_REMOTE = address;
        await withGraph(root, async (workspace) => {
          const { unsent } = await pushResults(workspace, (await workspace.shared())!, null);
          if (unsent > 0) throw new Error(`${unsent} results could not be sent to ${address}`);
        });
      }
      const plan = (address: string, known: number) => async () => {
        process.env.PIPE_CACHE_REMOTE = address;
        rmSync(join(root, 'cache'), { recursive: true, force: true });
        await withGraph(root, async (workspace, graph) => {
          const { counts } = await makePlan(workspace, graph);
          if (counts.fresh !== known) throw new Error(`${counts.fresh} tasks are known from ${address}, not ${known}`);
        });
      };
      const seconds = await takeTurns(rounds, {
        alone: plan('none', 0),
        folder: plan(folder, tasks),
        http: plan(http, tasks),
        // Discard: nothing listens there.
        dead: plan('http://127.0.0.1:9', 0),
      });
      const against = { what: 'without a shared cache', sample: sampleOf(seconds.alone) };
      return [
        {
          what: 'plan of 1,000 tasks, all known from a shared folder',
          unit: 's',
          measured: sampleOf(seconds.folder),
          against,
        },
        {
          what: 'plan of 1,000 tasks, all known from HTTP on loopback',
          unit: 's',
          measured: sampleOf(seconds.http),
          against,
        },
        {
          what: 'plan of 1,000 tasks, the shared cache is a dead port',
          unit: 's',
          measured: sampleOf(seconds.dead),
          against,
          bar: { value: 5 },
        },
      ];
    } finally {
      if (before === undefined) delete process.env.PIPE_CACHE_REMOTE;
      else process.env.PIPE_CACHE_REMOTE = before;
      server.closeAllConnections();
      server.close();
    }
  });
}

/** A server that keeps what is put in memory. */
async function serveMap(): Promise<Server> {
  const objects = new Map<string, Buffer>();
  const server = createServer(async (request, response) => {
    const path = request.url!;
    if (request.method === 'PUT') {
      const chunks: Buffer[] = [];
      for await (const chunk of request) chunks.push(chunk as Buffer);
      objects.set(path, Buffer.concat(chunks));
      response.writeHead(201).end();
      return;
    }
    const object = objects.get(path);
    response.writeHead(object === undefined ? 404 : 200).end(request.method === 'HEAD' ? undefined : object);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return server;
}
