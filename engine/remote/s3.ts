/** A bucket of S3, or of a server that speaks its protocol, as a shared cache. Loaded only where one is used. */
import type { Readable } from 'node:stream';
import { GetObjectCommand, HeadObjectCommand, S3Client, S3ServiceException } from '@aws-sdk/client-s3';
import { Upload } from '@aws-sdk/lib-storage';
import { messageOf } from '../errors.ts';
import type { Digest } from '../record.ts';
import { type Area, type Remote, RemoteError, statusError } from './remote.ts';

export interface BucketOptions {
  readonly bucket: string;
  /** Begins every object's name; empty, or ends with `/`. */
  readonly prefix: string;
  /** Another server than Amazon's. */
  readonly endpoint: string | null;
  readonly region: string | null;
}

/** Opens the shared cache in a bucket. Credentials come as the AWS tools take them: from AWS_ACCESS_KEY_ID and the like. */
export function openBucket({ bucket, prefix, endpoint, region }: BucketOptions): Remote {
  // The client would tell whoever runs a pipeline, each time, which Node its versions of next year want.
  process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED ??= 'true';
  const isElsewhere = endpoint !== null || Boolean(process.env.AWS_ENDPOINT_URL_S3 ?? process.env.AWS_ENDPOINT_URL);
  const client = new S3Client({
    ...(endpoint === null ? {} : { endpoint }),
    ...(region === null ? (isElsewhere && !process.env.AWS_REGION ? { region: 'us-east-1' } : {}) : { region }),
    forcePathStyle: isElsewhere,
    // Attempts are the caller's, alike for every kind of remote. What is read is compared with its digest anyway, and
    // older servers know no checksum in a trailer.
    maxAttempts: 1,
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
  });
  const objectOf = (area: Area, digest: Digest) => ({ Bucket: bucket, Key: `${prefix}${area}/${digest}` });

  return {
    name: `s3://${bucket}/${prefix}`,
    isWire: true,
    has: (area, digest, abortSignal) =>
      client.send(new HeadObjectCommand(objectOf(area, digest)), { abortSignal }).then(
        () => true,
        (thrown) => absent(thrown, false),
      ),
    get: (area, digest, abortSignal) =>
      client.send(new GetObjectCommand(objectOf(area, digest)), { abortSignal }).then(
        ({ Body }) => Body as Readable,
        (thrown) => absent(thrown, null),
      ),
    async put(area, digest, body, signal) {
      // Large blobs go in parts; one part is a plain PUT.
      const upload = new Upload({ client, params: { ...objectOf(area, digest), Body: body.open() } });
      const abort = () => void upload.abort();
      signal.addEventListener('abort', abort, { once: true });
      try {
        await upload.done();
      } catch (thrown) {
        refused(thrown);
      } finally {
        signal.removeEventListener('abort', abort);
      }
    },
    close: async () => client.destroy(),
  };
}

function absent<T>(thrown: unknown, value: T): T {
  if (
    thrown instanceof S3ServiceException &&
    thrown.$metadata.httpStatusCode === 404 &&
    thrown.name !== 'NoSuchBucket'
  ) {
    return value;
  }
  return refused(thrown);
}

function refused(thrown: unknown): never {
  if (!(thrown instanceof S3ServiceException)) {
    const isConfigured = !/credential|region/i.test(messageOf(thrown));
    throw new RemoteError(isConfigured ? 'passing' : 'final', messageOf(thrown));
  }
  const status = thrown.$metadata.httpStatusCode ?? 500;
  const { kind, message } = statusError(status, 'AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY');
  throw new RemoteError(kind, `${message} (${thrown.name})`);
}
