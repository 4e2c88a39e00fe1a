/**
 * Secrets: variables of the user's environment that a stage names under `secrets:`. Their values reach the task and nothing else:
 * the manifest holds a keyed fingerprint, and logs, messages and measurements have them masked.
 */
import { createHmac, randomBytes } from 'node:crypto';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pick } from './environment.ts';
import { errorCode } from './errors.ts';
import type { Task } from './graph.ts';

/** Name -> value. */
export type Secrets = Readonly<Record<string, string>>;

/** The values of a task's secrets. @throws Error naming one that is not set: `missingSecret` is to be asked before. */
export function secretsOf(task: Task): Secrets {
  const missing = missingSecret(task);
  if (missing !== null) throw new Error(`the secret ${missing} is not set`);
  return pick(process.env, task.secrets);
}

/** The first secret of a task that is not set, or empty; null when all are there. */
export function missingSecret({ secrets }: Pick<Task, 'secrets'>): string | null {
  return secrets.find((name) => (process.env[name] ?? '') === '') ?? null;
}

/** Gives fingerprints of secrets. */
export interface Fingerprints {
  /** HMAC-SHA256 of name and value, hexadecimal: equal for equal secrets, and no use to whoever lacks the key. */
  of(name: string, value: string): string;
}

/**
 * The key is PIPE_FINGERPRINT_KEY, for people who share a cache, or else a random one that is made for this cache folder and
 * readable by its owner alone. Without a key a short secret could be guessed from its digest.
 */
export function openFingerprints(cache: string): Fingerprints {
  let key: string | undefined;
  return {
    of(name, value) {
      key ??= process.env.PIPE_FINGERPRINT_KEY || keyIn(cache);
      return createHmac('sha256', key).update(`${name}\0${value}`).digest('hex');
    },
  };
}

function keyIn(cache: string): string {
  const path = join(cache, 'fingerprint.key');
  for (;;) {
    try {
      return readFileSync(path, 'utf8');
    } catch (thrown) {
      if (errorCode(thrown) !== 'ENOENT') throw thrown;
    }
    mkdirSync(cache, { recursive: true });
    try {
      writeFileSync(path, randomBytes(32).toString('hex'), { flag: 'wx', mode: 0o600 });
    } catch (thrown) {
      // Another process has made it meanwhile.
      if (errorCode(thrown) !== 'EEXIST') throw thrown;
    }
  }
}

export const mask = '***';

/** Masked output that comes piece by piece. */
export interface Flow {
  take(piece: string | Uint8Array): Buffer;
  /** What was held back. */
  end(): Buffer;
}

/**
 * Replaces the values of secrets, as they are and in the ways that programs commonly write them: from left to right, at each
 * place the longest that stands there.
 */
export class Masker {
  /** Longest first, since one may begin another. As Latin-1, in which every byte is a character. */
  readonly #needles: readonly string[];
  readonly #pattern: RegExp;

  constructor(secrets: Secrets) {
    const forms = new Set(Object.values(secrets).flatMap(formsOf));
    const bytes = [...forms].map((form) => Buffer.from(form).toString('latin1'));
    this.#needles = bytes.sort((a, b) => b.length - a.length);
    this.#pattern = new RegExp(
      this.#needles.map((needle) => needle.replaceAll(/[\\^$.*+?()[\]{}|]/g, '\\$&')).join('|'),
      'g',
    );
  }

  /** Whether there is nothing to mask. */
  get isIdle(): boolean {
    return this.#needles.length === 0;
  }

  /** Masks a whole content, whatever its encoding. */
  bytes(content: Buffer): Buffer {
    return this.isIdle ? content : Buffer.from(this.#mask(content.toString('latin1')), 'latin1');
  }

  text(text: string): string {
    return this.isIdle ? text : this.bytes(Buffer.from(text)).toString();
  }

  /** Masks what comes in pieces, as it would be masked whole: an end that a secret may begin with is held back. */
  flow(): Flow {
    let held = '';
    return {
      take: (piece) => {
        const text = held + Buffer.from(piece).toString('latin1');
        const decided = this.#decided(text);
        held = text.slice(decided);
        return Buffer.from(this.#mask(text.slice(0, decided)), 'latin1');
      },
      end: () => {
        const rest = Buffer.from(this.#mask(held), 'latin1');
        held = '';
        return rest;
      },
    };
  }

  #mask(text: string): string {
    return this.isIdle ? text : text.replaceAll(this.#pattern, mask);
  }

  /** Up to where no more text can change what is masked: the first place, outside what is masked, that a secret may begin at. */
  #decided(text: string): number {
    const longest = this.#needles[0]?.length ?? 0;
    for (let at = 0; at < text.length; ) {
      this.#pattern.lastIndex = at;
      const found = this.#pattern.exec(text);
      const next = found?.index ?? text.length;
      for (let place = Math.max(at, text.length - longest + 1); place <= next && place < text.length; place++) {
        const rest = text.slice(place);
        if (this.#needles.some((needle) => needle.length > rest.length && needle.startsWith(rest))) return place;
      }
      at = next + (found?.[0].length ?? 0);
    }
    return text.length;
  }
}

/** Lines of a secret shorter than this are not masked by themselves: they would take ordinary words with them. */
const shortestLine = 8;

/** A secret as it is, line by line, in a JSON string, in an address, and in Base64. */
function formsOf(value: string): string[] {
  const lines = value.split(/\r?\n/).filter((line) => line.length >= shortestLine);
  const base64 = Buffer.from(value).toString('base64');
  const forms = [
    value,
    ...lines,
    JSON.stringify(value).slice(1, -1),
    encodeURIComponent(value),
    base64,
    base64.replace(/=+$/, ''),
  ];
  return forms.filter((form) => form !== '');
}
