/** The download stage against a server that cuts, fails, redirects and changes its mind. */
import { createHash } from 'node:crypto';
import { existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest';
import { openShelf } from '../stages/download/shelf.ts';
import { parseSource } from '../stages/download/source.ts';
import download from '../stages/download.ts';
import { openWorkshop, type Workshop } from './support/stages.ts';

type Handler = (request: IncomingMessage, response: ServerResponse) => void;

let server: Server;
let origin: string;
let handlers: Handler[];
let requests: IncomingMessage[];
let shop: Workshop;
/** What happens when the stage has received and kept some bytes. */
let onProgress: () => void;

const content = Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * 7919) % 251));
const sha256 = createHash('sha256').update(content).digest('hex');

beforeAll(async () => {
  server = createServer((request, response) => {
    requests.push(request);
    // Each request takes the next handler; the last one stays.
    const handler = handlers.length > 1 ? handlers.shift()! : handlers[0]!;
    handler(request, response);
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
});
afterAll(() => {
  server.closeAllConnections();
  server.close();
});
beforeEach(() => {
  requests = [];
  shop = openWorkshop();
  onProgress = () => {};
});
afterEach(() => {
  vi.unstubAllEnvs();
  shop.remove();
});

/** A well-behaved file server: ETag, If-None-Match, Range with If-Range. */
function serve(body: Buffer = content, etag = '"v1"'): Handler {
  return (request, response) => {
    const { range, 'if-range': ifRange, 'if-none-match': ifNoneMatch } = request.headers;
    if (ifNoneMatch === etag) return void response.writeHead(304, { etag }).end();
    const from = Number(/^bytes=(\d+)-$/.exec(range ?? '')?.[1] ?? 0);
    if (from > 0 && ifRange === etag) {
      if (from >= body.length) return void response.writeHead(416).end();
      const rest = body.subarray(from);
      response.writeHead(206, {
        etag,
        'content-length': rest.length,
        'content-range': `bytes ${from}-${body.length - 1}/${body.length}`,
      });
      return void response.end(rest);
    }
    response.writeHead(200, { etag, 'content-length': body.length }).end(body);
  };
}

/** Sends the first bytes of the content, and drops the connection once the stage has some of them. */
function cutAfter(bytes: number, etag: string | null = '"v1"'): Handler {
  return (_, response) => {
    response.writeHead(200, { ...(etag === null ? {} : { etag }), 'content-length': content.length });
    response.write(content.subarray(0, bytes));
    onProgress = () => response.destroy();
  };
}

const fail =
  (status: number, headers: Record<string, string> = {}): Handler =>
  (_, response) =>
    void response.writeHead(status, headers).end('no');

const fetchIt = (params: Record<string, string | number | string[]> = {}) =>
  shop.run(download, {
    params: { from: `${origin}/data.bin`, backoff_seconds: 0, ...params },
    progress: () => onProgress(),
  });

describe('download over http', () => {
  test('brings the bytes, and a second task asks by ETag and fetches nothing', async () => {
    handlers = [serve()];
    const first = await fetchIt({ sha256 });
    expect(readFileSync(first.outputs.file!).equals(content)).toBe(true);
    expect(first.measurements['fetched bytes']).toBe(content.length);

    const second = await fetchIt();
    expect(readFileSync(second.outputs.file!).equals(content)).toBe(true);
    expect(second.measurements['fetched bytes']).toBe(0);
    expect(requests.map((request) => request.headers['if-none-match'])).toEqual([undefined, '"v1"']);
  });

  test('with the sha256 given, a kept file needs no request at all', async () => {
    handlers = [serve()];
    await fetchIt({ sha256 });
    await fetchIt({ sha256 });
    expect(requests).toHaveLength(1);
  });

  test('a cut body is resumed where it was cut', async () => {
    handlers = [cutAfter(100_000), serve()];
    const run = await fetchIt({ sha256 });
    expect(readFileSync(run.outputs.file!).equals(content)).toBe(true);
    const from = Number(/^bytes=(\d+)-$/.exec(requests[1]!.headers.range!)![1]);
    expect(from).toBeGreaterThan(0);
    expect(from).toBeLessThanOrEqual(100_000);
    expect(run.measurements['fetched bytes']).toBe(content.length);
    expect(run.log.join('\n')).toMatch(/connection was lost after \d+ of 300000 bytes; trying again/);
  });

  test('a task that gave up leaves its bytes to the next one', async () => {
    handlers = [cutAfter(100_000), fail(503)];
    await expect(fetchIt({ retries: 2 })).rejects.toThrow(
      /answers 503 Service Unavailable \(3 attempts\); \d+ bytes are kept/,
    );
    handlers = [serve()];
    requests = [];
    const run = await fetchIt({ sha256 });
    expect(requests[0]!.headers.range).toMatch(/^bytes=\d+-$/);
    expect(run.measurements['fetched bytes']).toBeLessThan(content.length);
    expect(readFileSync(run.outputs.file!).equals(content)).toBe(true);
  });

  test('content that changed between the cut and the resumption is fetched anew', async () => {
    const changed = Buffer.from(content.toReversed());
    handlers = [cutAfter(100_000), serve(changed, '"v2"')];
    const run = await fetchIt();
    expect(requests[1]!.headers['if-range']).toBe('"v1"');
    expect(readFileSync(run.outputs.file!).equals(changed)).toBe(true);
  });

  test('content that changed after it was fetched is fetched anew', async () => {
    handlers = [serve()];
    await fetchIt();
    const changed = Buffer.from('another');
    handlers = [serve(changed, '"v2"')];
    const run = await fetchIt();
    expect(readFileSync(run.outputs.file!).equals(changed)).toBe(true);
  });

  test.each([null, 'W/"weak"'])('without a strong ETag (%s) a cut body begins anew', async (etag) => {
    handlers = [cutAfter(100_000, etag), serve()];
    const run = await fetchIt({ sha256 });
    expect(requests[1]!.headers.range).toBeUndefined();
    expect(readFileSync(run.outputs.file!).equals(content)).toBe(true);
  });

  test('a shorter content than what was kept (416) begins anew', async () => {
    const short = content.subarray(0, 10);
    handlers = [cutAfter(100_000), fail(416), serve(short)];
    const run = await fetchIt();
    expect(readFileSync(run.outputs.file!).equals(short)).toBe(true);
  });

  test('a server that answers with the wrong range is not believed', async () => {
    const wrong: Handler = (_, response) =>
      void response
        .writeHead(206, { etag: '"v1"', 'content-range': 'bytes 5-9/300000', 'content-length': 5 })
        .end('wrong');
    handlers = [cutAfter(100_000), wrong, serve()];
    const run = await fetchIt({ sha256 });
    expect(readFileSync(run.outputs.file!).equals(content)).toBe(true);
  });

  test('errors of the server are retried a bounded number of times, its refusals are not', async () => {
    handlers = [fail(500), fail(429, { 'retry-after': '0' }), fail(502), serve()];
    const run = await fetchIt({ sha256 });
    expect(run.log.filter((line) => line.includes('trying again'))).toHaveLength(3);

    handlers = [fail(500)];
    requests = [];
    await expect(fetchIt({ from: `${origin}/other`, retries: 3 })).rejects.toThrow(
      /other: the server answers 500 .*\(4 attempts\)/,
    );
    expect(requests).toHaveLength(4);

    handlers = [fail(404)];
    requests = [];
    await expect(fetchIt({ from: `${origin}/none` })).rejects.toThrow(
      /none: the server answers 404 Not Found; check the address/,
    );
    expect(requests).toHaveLength(1);
    await expect(fetchIt({ from: `${origin}/none` })).rejects.toMatchObject({ name: 'StageError' });
  });

  test('nobody there', async () => {
    await expect(fetchIt({ from: 'http://127.0.0.1:1/x', retries: 1 })).rejects.toThrow(
      /no answer \(.+\) \(2 attempts\)/,
    );
  });

  test('redirects are followed, and a resumption goes through them too', async () => {
    const file = serve();
    const redirecting =
      (then: Handler): Handler =>
      (request, response) =>
        request.url === '/data.bin'
          ? void response.writeHead(302, { location: `${origin}/moved.bin` }).end()
          : then(request, response);
    handlers = [redirecting(cutAfter(50_000)), redirecting(cutAfter(50_000)), redirecting(file)];
    const run = await fetchIt({ sha256 });
    expect(readFileSync(run.outputs.file!).equals(content)).toBe(true);
    expect(requests.at(-1)).toMatchObject({
      url: '/moved.bin',
      headers: { range: expect.stringMatching(/^bytes=\d+-$/) },
    });
  });

  test('a wrong sha256 is refused, names both, and is not kept', async () => {
    handlers = [serve()];
    const wrong = 'a'.repeat(64);
    await expect(fetchIt({ sha256: wrong })).rejects.toThrow(
      new RegExp(`data\\.bin has sha256 ${sha256}, not ${wrong}`),
    );
    requests = [];
    await fetchIt({ sha256 });
    expect(requests[0]!.headers['if-none-match']).toBeUndefined();
  });

  test('an aborted task stops at once and what came stays', async () => {
    const controller = new AbortController();
    handlers = [
      (_, response) => {
        response.writeHead(200, { etag: '"v1"', 'content-length': content.length });
        response.write(content.subarray(0, 100_000));
      },
    ];
    const run = shop.run(download, {
      params: { from: `${origin}/data.bin` },
      signal: controller.signal,
      progress: () => controller.abort(new Error('cancelled')),
    });
    await expect(run).rejects.toThrow('cancelled');
    expect(requests).toHaveLength(1);
    const shelf = openShelf(shop.retained, shop.folder, `${origin}/data.bin`);
    expect(shelf.keptPartial()).toMatchObject({ etag: '"v1"' });
    expect(shelf.keptWhole()).toBeNull();
    shelf.release();
  });

  test('a killed writer leaves no note that can be believed, and no lock that holds', async () => {
    handlers = [serve()];
    const [name] = await fetchIt().then(() => readdirSync(shop.retained));
    const home = join(shop.retained, name!);
    writeFileSync(join(home, 'whole.json'), '{"et');
    // No process has this number: the largest that Linux gives is 2^22.
    writeFileSync(join(home, 'holder'), '99999999');
    requests = [];
    const run = await fetchIt({ retries: 0 });
    expect(requests[0]!.headers['if-none-match']).toBeUndefined();
    expect(readFileSync(run.outputs.file!).equals(content)).toBe(true);
    expect(existsSync(join(home, 'holder'))).toBe(false);
  });

  test('while another task holds the address, this one fetches for itself', async () => {
    handlers = [serve()];
    const shelf = openShelf(shop.retained, shop.folder, `${origin}/data.bin`);
    const run = await fetchIt({ sha256 });
    expect(readFileSync(run.outputs.file!).equals(content)).toBe(true);
    expect(shelf.keptWhole()).toBeNull();
    shelf.release();
  });
});

describe('download from a Hugging Face repository', () => {
  const repository: Handler = (request, response) => {
    const match = /^\/mirror\/(datasets\/)?(owner\/name)\/resolve\/([^/]+)\/(.+)$/.exec(request.url!);
    if (match === null) return fail(404)(request, response);
    response
      .writeHead(200, { etag: `"${match[4]}"` })
      .end(`${match[1] ?? ''}${match[3]}:${decodeURIComponent(match[4]!)}`);
  };

  beforeEach(() => {
    handlers = [repository];
    vi.stubEnv('HF_ENDPOINT', `${origin}/mirror/`);
  });

  test("a model's checkpoint files come as a folder, named files under their paths", async () => {
    const run = await fetchIt({ from: 'hf://owner/name' });
    expect(readdirSync(run.outputs.file!).sort()).toEqual(['config.json', 'model.safetensors', 'tokenizer.json']);
    expect(readFileSync(join(run.outputs.file!, 'config.json'), 'utf8')).toBe('main:config.json');

    const named = await fetchIt({ from: 'hf://owner/name@v2', files: ['a/b c.json', 'd'] });
    expect(readFileSync(join(named.outputs.file!, 'a/b c.json'), 'utf8')).toBe('v2:a/b c.json');
    expect(named.measurements['fetched bytes']).toBe('v2:a/b c.json'.length + 'v2:d'.length);
  });

  test('one file of a data set comes as a file', async () => {
    const run = await fetchIt({ from: 'hf://datasets/owner/name/data/x.json' });
    expect(readFileSync(run.outputs.file!, 'utf8')).toBe('datasets/main:data/x.json');
  });
});

describe('download of a local path', () => {
  test('a file, a folder, and what is not there', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'pipe-local-'));
    try {
      mkdirSync(join(folder, 'sub'));
      writeFileSync(join(folder, 'sub', 'x'), content);
      const whole = await fetchIt({ from: folder });
      expect(readFileSync(join(whole.outputs.file!, 'sub', 'x')).equals(content)).toBe(true);
      writeFileSync(join(folder, 'y'), 'y');
      const some = await fetchIt({ from: folder, files: ['sub/x'] });
      expect(readdirSync(some.outputs.file!, { recursive: true }).sort()).toEqual(['sub', 'sub/x']);
      await expect(fetchIt({ from: folder, files: ['sub/none'] })).rejects.toThrow(/there is no sub\/none in/);
      await expect(fetchIt({ from: join(folder, 'y'), files: ['x'] })).rejects.toThrow(/is itself a file/);
      const one = await fetchIt({ from: join(folder, 'sub', 'x'), sha256 });
      expect(readFileSync(one.outputs.file!).equals(content)).toBe(true);
      await expect(fetchIt({ from: join(folder, 'sub', 'x'), sha256: 'b'.repeat(64) })).rejects.toThrow(
        /has sha256 .*, not b+/,
      );
      await expect(fetchIt({ from: join(folder, 'none') })).rejects.toThrow(/there is no file or folder .*none/);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

describe('addresses', () => {
  const endpoint = 'https://hub';
  test('hf:// with and without owner, revision and path', () => {
    const url = (from: string) => {
      const source = parseSource(from, [], endpoint);
      return source.kind === 'file' ? source.url : source.kind === 'folder' ? source.files[0]!.url : source.path;
    };
    expect(url('hf://gpt2')).toBe('https://hub/gpt2/resolve/main/config.json');
    expect(url('hf://openai-community/gpt2-medium')).toBe(
      'https://hub/openai-community/gpt2-medium/resolve/main/config.json',
    );
    expect(url('hf://datasets/a/b@refs%2Fpr%2F1/x y.json')).toBe(
      'https://hub/datasets/a/b/resolve/refs%252Fpr%252F1/x%20y.json',
    );
    expect(url('/a/b')).toBe('/a/b');
  });

  test.each([
    ['ftp://x/y', [], /ftp:\/\/ is not supported; use https/],
    ['https://', [], /is not a valid address/],
    ['https://x/y', ['z'], /files cannot be named for 'https:\/\/x\/y', which is one file/],
    ['hf://', [], /is not of the form hf:\/\/\[datasets\/\]owner\/name/],
    ['hf://datasets/a/b', [], /name its files/],
    ['hf://a/b', ['../x'], /'\.\.\/x' is not a path inside a repository or folder/],
    ['hf://a/b/c.json', ['d'], /names one file already/],
  ])('%s %j is refused', (from, files, message) => {
    expect(() => parseSource(from, files, endpoint)).toThrow(message);
  });

  test('a sha256 for several files is refused', async () => {
    await expect(fetchIt({ from: 'hf://a/b', sha256 })).rejects.toThrow(/sha256 is that of one file/);
  });
});
