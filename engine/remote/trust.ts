/** What may be believed of a record from a shared cache, which anybody may have written: its shape, its key, its signature. */
import { createHmac, timingSafeEqual } from 'node:crypto';
import { Ajv } from 'ajv';
import { checkedJson, parseChecked } from '../checked.ts';
import { canonicalJson, manifestKey } from '../manifest.ts';
import { pathProblem } from '../paths.ts';
import type { Digest, TaskRecord } from '../record.ts';

/** Text for people, and names: nothing that could steer a terminal. */
const text = { type: 'string', pattern: '^[^\\u0000-\\u001f\\u007f-\\u009f]*$' };
const digest = { type: 'string', pattern: '^[0-9a-f]{64}$' };
const anyMap = { type: 'object', propertyNames: text };
const mapOf = (values: object) => ({ ...anyMap, additionalProperties: values });
const objectOf = (properties: Readonly<Record<string, object>>) => ({
  type: 'object',
  additionalProperties: false,
  required: Object.keys(properties),
  properties,
});

/** What else a record says, a later version of it may know; nothing reads it here. */
const recordSchema = {
  type: 'object',
  required: [
    'key',
    'manifest',
    'outputs',
    'log',
    'startedAt',
    'seconds',
    'host',
    'measurements',
    'run',
    'task',
    'producers',
    'sources',
  ],
  properties: {
    key: digest,
    manifest: {
      ...anyMap,
      required: ['contract', 'action', 'code', 'params', 'env', 'inputs', 'outputs'],
      properties: {
        contract: { const: 1 },
        action: { type: 'object' },
        code: { anyOf: [digest, { type: 'null' }] },
        params: { type: 'object' },
        env: { type: 'object' },
        inputs: mapOf({
          anyOf: [digest, { type: 'array', items: objectOf({ axes: { type: 'object' }, digest }) }],
        }),
        outputs: mapOf({ type: 'string' }),
      },
    },
    outputs: mapOf(objectOf({ kind: { enum: ['file', 'folder'] }, digest, bytes: { type: 'integer', minimum: 0 } })),
    log: digest,
    startedAt: { type: 'string', pattern: '^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d(\\.\\d+)?Z$' },
    seconds: { type: 'number', minimum: 0 },
    host: mapOf({ anyOf: [text, { type: 'number' }] }),
    job: objectOf({ cluster: text, id: text }),
    measurements: mapOf({ anyOf: [text, { type: 'number' }] }),
    run: text,
    task: text,
    producers: mapOf({ anyOf: [digest, { type: 'array', items: digest }] }),
    sources: mapOf(text),
    signature: digest,
  },
};

const hasShape = new Ajv({ allowUnionTypes: true, strictRequired: false }).compile<Signed>(recordSchema);

type Signed = TaskRecord & { readonly signature?: Digest };

/** Why a record is not believed. The message goes on after "the record of KEY ...". */
export class DistrustError extends Error {}

/**
 * Reads a record that came from elsewhere.
 * @param secret if given, only what was signed with it is believed.
 * @throws DistrustError saying what is wrong with it.
 */
export function readForeignRecord(content: Buffer, key: Digest, secret: string | null): TaskRecord {
  let value: unknown;
  try {
    value = parseChecked(content);
  } catch {
    // As damaged as any.
  }
  if (value === undefined) throw new DistrustError('is damaged, or was not written by pipe');
  if (!hasShape(value)) {
    const [error] = hasShape.errors ?? [];
    throw new DistrustError(`is not a record: ${error?.instancePath || 'it'} ${error?.message ?? 'is wrong'}`);
  }
  const { signature, ...record } = value;
  if (secret !== null) {
    if (signature === undefined) throw new DistrustError('is not signed');
    if (!timingSafeEqual(Buffer.from(signature, 'hex'), signatureBytes(record, secret))) {
      throw new DistrustError('is not signed with PIPE_CACHE_KEY');
    }
  }
  if (record.key !== key || manifestKey(record.manifest) !== key) throw new DistrustError('is that of another task');
  const { outputs } = record.manifest;
  for (const [name, path] of Object.entries(outputs)) {
    const problem = pathProblem(path);
    if (problem !== null) throw new DistrustError(`has an output that leaves its folder: ${problem}`);
    if (!Object.hasOwn(record.outputs, name)) throw new DistrustError(`lacks the output ${name}`);
  }
  for (const name of Object.keys(record.outputs)) {
    if (!Object.hasOwn(outputs, name)) throw new DistrustError(`has an output ${name} that the task does not`);
  }
  return record;
}

/** The text of a record as it is put into a shared cache: signed if there is a secret. */
export function foreignText(record: TaskRecord, secret: string | null): string {
  const signature = secret === null ? {} : { signature: signatureBytes(record, secret).toString('hex') };
  return checkedJson(JSON.parse(canonicalJson({ ...record, ...signature })), 1);
}

/** HMAC-SHA256 over the record's canonical JSON. Its key is part of it, so it vouches for nothing else. */
function signatureBytes(record: TaskRecord, secret: string): Buffer {
  return createHmac('sha256', secret)
    .update(`pipe record\n${canonicalJson(record)}`)
    .digest();
}
