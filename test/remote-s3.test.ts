/** S3 as a shared cache: the real gateway of Ceph from Debian, started once. */
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import {
  CreateBucketCommand,
  DeleteObjectCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
} from '@aws-sdk/client-s3';
import { afterAll, afterEach, beforeAll, describe, expect, test, vi } from 'vitest';
import { run } from './support/engine.ts';
import { freePort, installed } from './support/ports.ts';
import { all, type Backend, clearMachines, machine, of, study, testSharedCache } from './support/remote.ts';

const script = join(import.meta.dirname, 'servers', 'rgw.sh');
const home = mkdtempSync(join(tmpdir(), 'pipe-rgw-'));
const keys = { AWS_ACCESS_KEY_ID: 'test', AWS_SECRET_ACCESS_KEY: 'testsecret' };
const Bucket = 'experiments';
let endpoint = '';
let client: S3Client;
let parts = 0;
const keyOf = (area: string, digest: string) => `part-${parts}/${area}/${digest}`;

const backend: Backend = {
  async fresh() {
    parts += 1;
    return { address: `s3://${Bucket}/part-${parts}`, env: { ...keys, AWS_ENDPOINT_URL_S3: endpoint } };
  },
  async list(area) {
    const { Contents = [] } = await client.send(new ListObjectsV2Command({ Bucket, Prefix: keyOf(area, '') }));
    return Contents.map(({ Key }) => Key!.slice(keyOf(area, '').length));
  },
  async read(area, digest) {
    const { Body } = await client.send(new GetObjectCommand({ Bucket, Key: keyOf(area, digest) }));
    return Buffer.from(await Body!.transformToByteArray());
  },
  async write(area, digest, content) {
    await client.send(new PutObjectCommand({ Bucket, Key: keyOf(area, digest), Body: content }));
  },
  async remove(area, digest) {
    await client.send(new DeleteObjectCommand({ Bucket, Key: keyOf(area, digest) }));
  },
};

const missing = installed('ceph-mon', 'ceph-osd', 'radosgw', 'radosgw-admin', 'ceph', 'monmaptool', 'curl');
if (missing !== null) {
  console.log(`skipped: a shared cache in S3 (${missing}; Debian: ceph-mon, ceph-osd, radosgw, ceph-common, curl)`);
}

describe.skipIf(missing !== null)('S3', () => {
  beforeAll(async () => {
    const port = await freePort();
    execFileSync(script, ['up', home, String(port)], { stdio: 'inherit', timeout: 100_000 });
    endpoint = `http://127.0.0.1:${port}`;
    client = new S3Client({
      endpoint,
      region: 'us-east-1',
      forcePathStyle: true,
      credentials: { accessKeyId: keys.AWS_ACCESS_KEY_ID, secretAccessKey: keys.AWS_SECRET_ACCESS_KEY },
      requestChecksumCalculation: 'WHEN_REQUIRED',
    });
    await client.send(new CreateBucketCommand({ Bucket }));
  });
  afterAll(() => {
    client?.destroy();
    execFileSync(script, ['down', home]);
    rmSync(home, { recursive: true, force: true, maxRetries: 5 });
  });
  afterEach(clearMachines);

  testSharedCache('S3', backend);

  test('a wrong secret is refused, said once, and is in no message; a bucket that is not there is no miss', async () => {
    const { address } = await backend.fresh();
    const secret = 'not-the-secret-of-it';
    vi.stubEnv('PIPE_CACHE_REMOTE', address);
    vi.stubEnv('AWS_ENDPOINT_URL_S3', endpoint);
    vi.stubEnv('AWS_ACCESS_KEY_ID', 'test');
    vi.stubEnv('AWS_SECRET_ACCESS_KEY', secret);
    const { executed, events } = await run(study(machine()));
    expect(executed.toSorted()).toEqual(all);
    expect(of(events, 'remote-resting').map(({ problem }) => problem)).toEqual([
      expect.stringMatching(/refuses the request \(403\): see that AWS_ACCESS_KEY_ID .*SignatureDoesNotMatch/),
    ]);
    expect(JSON.stringify(events)).not.toContain(secret);

    vi.stubEnv('AWS_SECRET_ACCESS_KEY', keys.AWS_SECRET_ACCESS_KEY);
    vi.stubEnv('PIPE_CACHE_REMOTE', 's3://no-such-bucket/x');
    const lost = await run(study(machine()));
    expect(lost.outcome.status).toBe('done');
    expect(of(lost.events, 'remote-resting')).toMatchObject([{ problem: expect.stringContaining('NoSuchBucket') }]);
  });

  test('a blob of several parts arrives, from a bucket that the file names', async () => {
    const { address } = await backend.fresh();
    for (const [name, value] of Object.entries(keys)) vi.stubEnv(name, value);
    const [a, b] = [machine(), machine()];
    // More than one part of 5 MiB, even packed.
    const noise = Buffer.concat(Array.from({ length: 180 }, () => crypto.getRandomValues(Buffer.alloc(1 << 16))));
    for (const project of [a, b]) {
      project.write(
        'pipe.config.yaml',
        `cache: { remote: "${address}", endpoint: "${endpoint}", region: us-east-1 }\n`,
      );
      project.write('data/raw.txt', noise.toString('base64'));
    }
    const { events } = await run(study(a));
    expect(of(events, 'remote-tally')).toMatchObject([{ sent: 5, unsent: 0 }]);
    expect((await run(study(b))).executed).toEqual([]);
  });
});
