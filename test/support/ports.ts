/** What tests with real servers need: a port that is free now, and whether programs are installed. */
import { accessSync, constants } from 'node:fs';
import { createServer } from 'node:net';
import { delimiter, join } from 'node:path';

/**
 * A port of loopback that nothing listens on, nor on the one after it. Below those that the system gives out by itself: no
 * other program happens to get it before a server is started on it.
 */
export async function freePort(): Promise<number> {
  for (;;) {
    const port = 10_000 + 2 * Math.floor(Math.random() * 5000);
    if ((await isFree(port)) && (await isFree(port + 1))) return port;
  }
}

function isFree(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const server = createServer();
    server.once('error', () => resolve(false));
    server.listen(port, '127.0.0.1', () => server.close(() => resolve(true)));
  });
}

/** @returns why programs cannot be used, or null when all are installed. */
export function installed(...programs: readonly string[]): string | null {
  // Where Debian keeps programs that are not for everybody.
  const folders = [...(process.env.PATH ?? '').split(delimiter), '/usr/sbin', '/sbin'];
  const isThere = (program: string) =>
    folders.some((folder) => {
      try {
        accessSync(join(folder, program), constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
  const absent = programs.filter((program) => !isThere(program));
  return absent.length === 0 ? null : `not installed: ${absent.join(', ')}`;
}
