/** The safetensors format: a checked header, tensors read one at a time, and bytes that depend on the content alone. */
import { closeSync, fstatSync, openSync, readSync, writeSync } from 'node:fs';
import { fromBfloat16, fromFloat16 } from './float16.ts';
import { FormatError } from './format_error.ts';
import { parseJson } from './json.ts';
import { decodeUtf8 } from './utf8.ts';

/** What holds a tensor's elements in memory; the two 16-bit float types are kept as their bits. */
interface Elements {
  F32: Float32Array;
  F16: Uint16Array;
  BF16: Uint16Array;
  U8: Uint8Array;
  I8: Int8Array;
  I32: Int32Array;
  I64: BigInt64Array;
}

export type TensorType = keyof Elements;

/** A tensor in row-major order: its type says what array holds it. */
export type Tensor = {
  readonly [D in TensorType]: { readonly dtype: D; readonly shape: readonly number[]; readonly data: Elements[D] };
}[TensorType];

/** A tensor's entry in the header. Offsets are in bytes from the end of the header. */
export interface TensorInfo {
  readonly name: string;
  readonly dtype: TensorType;
  readonly shape: readonly number[];
  readonly begin: number;
  readonly end: number;
}

/** An opened file: the header is read and checked, the tensors lie on disk until they are asked for. */
export interface SafetensorsFile {
  readonly path: string;
  readonly metadata: Readonly<Record<string, string>>;
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  /** Reads one tensor. @throws FormatError when there is none of that name or the file has become shorter. */
  read(name: string): Tensor;
  /** Reads a tensor of type F32, F16 or BF16 as float32. @throws FormatError for any other type. */
  readFloat32(name: string): { readonly shape: readonly number[]; readonly data: Float32Array };
}

const elementBytes: Readonly<Record<TensorType, number>> = { F32: 4, F16: 2, BF16: 2, U8: 1, I8: 1, I32: 4, I64: 8 };

/** The format's own limit on the header. */
const longestHeader = 100_000_000;

/**
 * Opens a safetensors file and checks its header: its length, every tensor's type, shape and place, that tensors neither
 * overlap nor leave bytes between them, and that the file is as long as they say.
 * @throws FormatError naming the file, the tensor and what is wrong.
 */
export function openSafetensors(path: string): SafetensorsFile {
  const descriptor = openSync(path, 'r');
  try {
    const size = fstatSync(descriptor).size;
    if (size < 8)
      throw new FormatError(path, `${size} bytes are too few for a safetensors file (8 hold the header's length)`);
    const length = Buffer.alloc(8);
    readFully(descriptor, length, 0, path);
    const headerBytes = length.readBigUInt64LE();
    if (headerBytes > BigInt(longestHeader)) {
      throw new FormatError(
        path,
        `the header's length is given as ${headerBytes} bytes, more than the format allows (${longestHeader}): not a safetensors file`,
      );
    }
    if (8 + Number(headerBytes) > size) {
      throw new FormatError(
        path,
        `the header should end at byte ${8n + headerBytes}, but the file ends at ${size}: it is truncated`,
      );
    }
    const header = Buffer.alloc(Number(headerBytes));
    readFully(descriptor, header, 8, path);
    const { tensors, metadata } = parseHeader(header, size - 8 - header.length, path);
    return opened(path, 8 + header.length, tensors, metadata);
  } finally {
    closeSync(descriptor);
  }
}

function opened(
  path: string,
  dataStart: number,
  tensors: ReadonlyMap<string, TensorInfo>,
  metadata: Readonly<Record<string, string>>,
): SafetensorsFile {
  const read = (name: string): Tensor => {
    const info = tensors.get(name);
    if (info === undefined) throw new FormatError(path, `there is no tensor '${name}'`);
    const bytes = new Uint8Array(info.end - info.begin);
    const descriptor = openSync(path, 'r');
    try {
      readFully(descriptor, bytes, dataStart + info.begin, path);
    } finally {
      closeSync(descriptor);
    }
    return tensorOf(info.dtype, info.shape, bytes.buffer);
  };
  const readFloat32 = (name: string) => {
    const tensor = read(name);
    switch (tensor.dtype) {
      case 'F32':
        return { shape: tensor.shape, data: tensor.data };
      case 'F16':
        return { shape: tensor.shape, data: fromFloat16(tensor.data) };
      case 'BF16':
        return { shape: tensor.shape, data: fromBfloat16(tensor.data) };
      default:
        throw new FormatError(
          path,
          `tensor '${name}' is ${tensor.dtype}; a floating point tensor (F32, F16, BF16) is needed`,
        );
    }
  };
  return { path, metadata, tensors, read, readFloat32 };
}

function tensorOf(dtype: TensorType, shape: readonly number[], buffer: ArrayBuffer): Tensor {
  switch (dtype) {
    case 'F32':
      return { dtype, shape, data: new Float32Array(buffer) };
    case 'F16':
    case 'BF16':
      return { dtype, shape, data: new Uint16Array(buffer) };
    case 'U8':
      return { dtype, shape, data: new Uint8Array(buffer) };
    case 'I8':
      return { dtype, shape, data: new Int8Array(buffer) };
    case 'I32':
      return { dtype, shape, data: new Int32Array(buffer) };
    case 'I64':
      return { dtype, shape, data: new BigInt64Array(buffer) };
  }
}

function readFully(descriptor: number, into: Uint8Array, position: number, path: string): void {
  let done = 0;
  while (done < into.length) {
    const count = readSync(descriptor, into, done, into.length - done, position + done);
    if (count === 0)
      throw new FormatError(
        path,
        `the file ends at byte ${position + done}, inside its data: it was changed while it was read`,
      );
    done += count;
  }
}

interface Header {
  readonly tensors: ReadonlyMap<string, TensorInfo>;
  readonly metadata: Readonly<Record<string, string>>;
}

function parseHeader(bytes: Uint8Array, dataBytes: number, path: string): Header {
  if (bytes[0] !== 0x7b) throw new FormatError(path, `the header does not start with '{': not a safetensors file`);
  const header = parseJson(decodeUtf8(bytes, `${path} (header)`), `${path} (header)`) as Record<string, unknown>;
  const tensors = new Map<string, TensorInfo>();
  let metadata: Record<string, string> = {};
  for (const [name, entry] of Object.entries(header)) {
    if (name === '__metadata__') metadata = checkMetadata(entry, path);
    else tensors.set(name, checkEntry(name, entry, dataBytes, path));
  }
  checkLayout([...tensors.values()], dataBytes, path);
  return { tensors, metadata };
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

function checkMetadata(value: unknown, path: string): Record<string, string> {
  if (!isObject(value) || !Object.values(value).every((text) => typeof text === 'string')) {
    throw new FormatError(path, `'__metadata__' must be an object of strings`);
  }
  return value as Record<string, string>;
}

function isCount(value: unknown): value is number {
  return Number.isSafeInteger(value) && (value as number) >= 0;
}

function checkEntry(name: string, entry: unknown, dataBytes: number, path: string): TensorInfo {
  const wrong = (problem: string) => new FormatError(path, `tensor '${name}': ${problem}`);
  if (!isObject(entry)) throw wrong('its header entry is not an object');
  const { dtype, shape, data_offsets: offsets } = entry;
  if (typeof dtype !== 'string' || !Object.hasOwn(elementBytes, dtype)) {
    throw wrong(`its type is ${JSON.stringify(dtype)}; known types are ${Object.keys(elementBytes).join(', ')}`);
  }
  if (!Array.isArray(shape) || !shape.every(isCount))
    throw wrong(`its shape ${JSON.stringify(shape)} is not a list of sizes`);
  if (!Array.isArray(offsets) || offsets.length !== 2 || !offsets.every(isCount)) {
    throw wrong(`its data_offsets ${JSON.stringify(offsets)} are not two byte offsets`);
  }
  const [begin, end] = offsets as [number, number];
  if (begin > end) throw wrong(`its data begins at byte ${begin}, after its end at ${end}`);
  if (end > dataBytes) {
    throw wrong(
      `its data should end at byte ${end}, but the file holds ${dataBytes} bytes of data: it is truncated or the offsets are wrong`,
    );
  }
  const type = dtype as TensorType;
  const needed = (shape as number[]).reduce((product, size) => product * size, elementBytes[type]);
  if (needed !== end - begin) {
    throw wrong(
      `${type} [${shape.join(', ')}] takes ${needed} bytes, but its offsets ${begin} to ${end} hold ${end - begin}`,
    );
  }
  return { name, dtype: type, shape: shape as number[], begin, end };
}

/** Tensors must cover the data from its first byte to its last, each byte once. */
function checkLayout(tensors: readonly TensorInfo[], dataBytes: number, path: string): void {
  const inOrder = [...tensors].sort((a, b) => a.begin - b.begin || a.end - b.end);
  let reached = 0;
  let before = 'the start of the data';
  for (const { name, begin, end } of inOrder) {
    if (begin < reached)
      throw new FormatError(
        path,
        `tensor '${name}' begins at byte ${begin} and overlaps ${before}, which ends at ${reached}`,
      );
    if (begin > reached)
      throw new FormatError(path, `bytes ${reached} to ${begin}, before tensor '${name}', belong to no tensor`);
    reached = end;
    before = `tensor '${name}'`;
  }
  if (reached !== dataBytes) throw new FormatError(path, `the last ${dataBytes - reached} bytes belong to no tensor`);
}

/**
 * Writes a safetensors file. The bytes depend on the tensors and the metadata alone, not on the order of insertion:
 * wider types first (so that every tensor is aligned), names in code-point order within a type.
 * @throws RangeError when a tensor's data does not have as many elements as its shape.
 */
export function writeSafetensors(
  path: string,
  tensors: ReadonlyMap<string, Tensor>,
  metadata: Readonly<Record<string, string>> = {},
): void {
  const entries = [...tensors];
  entries.sort(([a, x], [b, y]) => elementBytes[y.dtype] - elementBytes[x.dtype] || compare(a, b));
  // Without a prototype, so that a tensor may have any name.
  const header: Record<string, unknown> = Object.create(null);
  const notes = Object.entries(metadata).sort(([a], [b]) => compare(a, b));
  if (notes.length > 0) header.__metadata__ = Object.fromEntries(notes);
  let offset = 0;
  for (const [name, { dtype, shape, data }] of entries) {
    const count = shape.reduce((product, size) => product * size, 1);
    if (data.length !== count) {
      throw new RangeError(
        `tensor '${name}' of shape [${shape.join(', ')}] needs ${count} elements, but has ${data.length}`,
      );
    }
    header[name] = { dtype, shape, data_offsets: [offset, offset + data.byteLength] };
    offset += data.byteLength;
  }
  // Spaces after the JSON bring the data to a multiple of 8 bytes, as the format recommends.
  const json = Buffer.from(JSON.stringify(header));
  const padded = Buffer.alloc(Math.ceil(json.length / 8) * 8, 0x20);
  json.copy(padded);
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(padded.length));
  const descriptor = openSync(path, 'w');
  try {
    for (const part of [length, padded, ...entries.map(([, { data }]) => data)]) writeFully(descriptor, part);
  } finally {
    closeSync(descriptor);
  }
}

function writeFully(descriptor: number, part: ArrayBufferView): void {
  const bytes = new Uint8Array(part.buffer, part.byteOffset, part.byteLength);
  for (let done = 0; done < bytes.length; ) done += writeSync(descriptor, bytes, done, bytes.length - done);
}

function compare(a: string, b: string): number {
  return Buffer.compare(Buffer.from(a), Buffer.from(b));
}
