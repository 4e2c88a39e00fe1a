/** A small HTTP server that answers as a test wants. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';

/** `objects` is what the server keeps: path -> content. */
export type Answer = (request: IncomingMessage, response: ServerResponse, objects: Map<string, Buffer>) => void;

export interface ObjectServer {
  readonly address: string;
  close(): void;
}

/** A cache that keeps what is put and gives it back. */
export const honest: Answer = (request, response, objects) => {
  const path = request.url!;
  if (request.method !== 'PUT') {
    const object = objects.get(path);
    response.writeHead(object === undefined ? 404 : 200, { 'content-length': object?.length ?? 0 });
    response.end(request.method === 'HEAD' ? undefined : object);
    return;
  }
  const chunks: Buffer[] = [];
  request.on('data', (chunk: Buffer) => chunks.push(chunk));
  request.on('end', () => {
    objects.set(path, Buffer.concat(chunks));
    response.writeHead(201).end();
  });
};

/** Starts a server on a free port of loopback. */
export async function serveObjects(answer: Answer): Promise<ObjectServer> {
  const objects = new Map<string, Buffer>();
  const server = createServer((request, response) => answer(request, response, objects));
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  return {
    address: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    close() {
      server.closeAllConnections();
      server.close();
    },
  };
}
