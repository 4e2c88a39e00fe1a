/** What is read from files that others wrote, fed with noise: it is understood or refused in words, never a crash, never slow. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { checkedJson } from '../engine/checked.ts';
import { DiagnosticList, sourceText } from '../engine/diagnostics.ts';
import { parseListing, sha256 } from '../engine/digest.ts';
import { evaluate } from '../engine/evaluate.ts';
import { ExpressionError, parseExpression } from '../engine/expression.ts';
import { manifestKey } from '../engine/manifest.ts';
import { parseAssignment } from '../engine/params.ts';
import { parsePipeline } from '../engine/parse.ts';
import { pathProblem } from '../engine/paths.ts';
import type { Manifest, TaskRecord } from '../engine/record.ts';
import { parseRecord, recordText } from '../engine/record_text.ts';
import { SchemaChecker } from '../engine/schema.ts';
import { parseYaml, toJson } from '../engine/source.ts';

/** The longest that anything may take on a busy machine: a bound on growth, not a speed. */
const slowMs = 10_000;
const checker = new SchemaChecker();

/** Reads text as a pipeline file as far as it goes without stages. @returns the messages */
function read(text: string): readonly string[] {
  const diagnostics = new DiagnosticList();
  const root = parseYaml(sourceText('file', 'p.yaml', text), diagnostics);
  if (root !== null) {
    parsePipeline(root, checker.checkPipeline(root, diagnostics), diagnostics);
    JSON.stringify(toJson(root));
  } else expect(diagnostics.count).toBeGreaterThan(0);
  try {
    diagnostics.throwIfAny();
    return [];
  } catch (error) {
    expect((error as Error).name).toBe('PipelineError');
    return (error as Error).message.split('\n');
  }
}

/** Words and signs that the format gives a meaning, so that noise gets further than the first character. */
const pieces = fc.constantFrom(
  ...[
    'stages:',
    'params:',
    'matrix:',
    'run:',
    'uses:',
    'with:',
    'in:',
    'out:',
    'include:',
    'secrets:',
    'publish:',
    'needs:',
  ],
  ...[
    'a',
    '1',
    '-1e999',
    'null',
    '~',
    'true',
    '.inf',
    '0x1f',
    '1_000',
    '2026-01-01',
    '<<:',
    '? ',
    '- ',
    ': ',
    ', ',
    '\n',
    '\n  ',
    '\n    ',
  ],
  ...[
    '&a ',
    '*a',
    '!!set',
    '!!binary',
    '!!js/function',
    '!x',
    '{',
    '}',
    '[',
    ']',
    '|',
    '>-',
    '"',
    "'",
    '#',
    '%YAML 1.1\n',
    '---\n',
    '...\n',
    '\t',
    '\0',
    '\ufeff',
    '\u2028',
    '\ud800',
  ],
  ...['${{', '}}', '${{ params.a }}', '${{ matrix.a }}', '__proto__', 'constructor', '../../x', '/etc/passwd'],
);
const noise = fc.array(fc.oneof({ weight: 6, arbitrary: pieces }, fc.string(), fc.string({ unit: 'binary' })), {
  maxLength: 40,
});

describe('pipeline files', () => {
  test('noise is read or refused with findings', () => {
    fc.assert(
      fc.property(noise, (parts) => {
        read(parts.join(''));
      }),
      { numRuns: 3000 },
    );
  });

  const corpus = join(import.meta.dirname, 'nasty');
  test.each(readdirSync(corpus).filter((name) => name.endsWith('.yaml')))('%s is refused in words', (name) => {
    const text = readFileSync(join(corpus, name), 'utf8');
    const expected = /^# refused: (.*)$/m.exec(text)?.[1];
    expect(expected, 'each file says how it is refused').toBeDefined();
    const started = performance.now();
    expect(read(text).join('\n')).toContain(expected);
    expect(performance.now() - started).toBeLessThan(slowMs);
  });

  test.each([
    ['lists', '['.repeat(50_000)],
    ['closed lists', '['.repeat(5_000) + ']'.repeat(5_000)],
    ['maps', '{a: '.repeat(50_000)],
    ['block lists', '- '.repeat(50_000)],
    ['block maps', Array.from({ length: 2_000 }, (_, depth) => `${' '.repeat(depth)}a:\n`).join('')],
    ['keys', '? '.repeat(50_000)],
  ])('%s in each other, tens of thousands deep, are refused', (_, text) => {
    const started = performance.now();
    expect(read(text)).not.toEqual([]);
    expect(performance.now() - started).toBeLessThan(slowMs);
  });

  test('aliases are bounded by what they stand for', () => {
    const levels = Array.from(
      { length: 30 },
      (_, n) =>
        `  a${n}: &a${n} [${Array(10)
          .fill(n === 0 ? 'x' : `*a${n - 1}`)
          .join(', ')}]\n`,
    );
    expect(read(`params:\n${levels.join('')}`).join('\n')).toContain(
      'more than 100000 values once its aliases are written out',
    );
  });
});

describe('options', () => {
  test('any NAME=VALUE is taken or refused', () => {
    fc.assert(
      fc.property(noise, (parts) => {
        const diagnostics = new DiagnosticList();
        const assignment = parseAssignment('--param', `a=${parts.join('')}`, diagnostics);
        expect(assignment === null).toBe(diagnostics.count > 0);
        if (assignment !== null)
          expect(JSON.parse(JSON.stringify({ value: assignment.value }))).toEqual({ value: assignment.value });
      }),
      { numRuns: 3000 },
    );
  });

  test('an alias in a value cannot grow', () => {
    const bomb = `a: &a [${'x,'.repeat(10)}]\nb: [${'*a,'.repeat(500)}]`;
    expect(parseAssignment('--param', `a=${bomb}`, new DiagnosticList())?.value).toBe(bomb);
  });
});

describe('expressions', () => {
  const words = fc.constantFrom(
    ...[
      'params',
      'matrix',
      '.',
      '.a',
      '[',
      ']',
      '(',
      ')',
      '{',
      '}',
      ',',
      ':',
      "'",
      "''",
      '"',
      '&&',
      '||',
      '==',
      '!=',
      '<',
      '<=',
      '!',
      '-',
      '+',
      '*',
      '/',
    ],
    ...[
      '1',
      '0.5',
      '1e400',
      'true',
      'null',
      'join',
      'format',
      'toJSON',
      'contains',
      'constructor',
      '__proto__',
      "'{0}'",
      ' ',
      '}}',
      '\\',
      '\0',
    ],
  );
  const scope = { params: { a: [1, 'x', null, { b: true }] }, matrix: {} };

  test('noise is parsed or refused at a place within it, and so is its value', () => {
    fc.assert(
      fc.property(fc.array(fc.oneof({ weight: 8, arbitrary: words }, fc.string()), { maxLength: 30 }), (parts) => {
        const text = `${parts.join('')} }}`;
        try {
          const { tree } = parseExpression(text, 0);
          const value = evaluate(tree, scope);
          expect(JSON.parse(JSON.stringify({ value }))).toEqual({ value });
        } catch (error) {
          expect(error).toBeInstanceOf(ExpressionError);
          const { start, end } = error as ExpressionError;
          expect(start).toBeGreaterThanOrEqual(0);
          expect(end).toBeLessThanOrEqual(text.length + 1);
        }
      }),
      { numRuns: 5000 },
    );
  });

  test.each(['(', '!', '-', '[', "{'a':", '1 + (', 'format('])(
    '%s nested tens of thousands deep is refused',
    (open) => {
      expect(() => parseExpression(`${open.repeat(50_000)} }}`, 0)).toThrow(ExpressionError);
    },
  );

  test('a long chain is evaluated or refused, never a full stack', () => {
    for (const link of ["['a']", '.a', ' + 1', ' && 1', ' == 1']) {
      try {
        evaluate(parseExpression(`params${link.repeat(50_000)} }}`, 0).tree, scope);
      } catch (error) {
        expect(error).toBeInstanceOf(ExpressionError);
      }
    }
  });
});

describe('records', () => {
  const digest = sha256('x');
  const manifest: Manifest = {
    contract: 1,
    action: { uses: 'say' },
    code: digest,
    params: { a: 1 },
    env: {},
    inputs: { from: digest },
    outputs: { out: 'out.txt' },
  };
  const record: TaskRecord = {
    key: manifestKey(manifest),
    manifest,
    outputs: { out: { kind: 'file', digest, bytes: 1 } },
    log: digest,
    startedAt: '2026-01-01T00:00:00.000Z',
    seconds: 1,
    host: { name: 'h', platform: 'linux-x64', cpu: 'c', cores: 2, node: 'v20' },
    measurements: {},
    run: 'r',
    task: 'say',
    producers: { from: digest },
    sources: {},
  };

  test('a record reads back as it was written', () => {
    expect(parseRecord(Buffer.from(recordText(record)), record.key)).toEqual(record);
  });

  test('bytes that are changed, cut or noise are no record', () => {
    const whole = Buffer.from(recordText(record));
    fc.assert(
      fc.property(fc.nat(whole.length - 1), fc.integer({ min: 1, max: 255 }), (place, bits) => {
        const changed = Buffer.from(whole);
        changed[place] = changed[place]! ^ bits;
        expect(parseRecord(changed, record.key)).toBeNull();
        expect(parseRecord(whole.subarray(0, place), record.key)).toBeNull();
      }),
      { numRuns: 2000 },
    );
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
        expect(parseRecord(Buffer.from(bytes), record.key)).toBeNull();
      }),
    );
  });

  test('JSON of any other shape, well sealed, is no record', () => {
    const path = fc.constantFrom(...paths({ ...record, job: { cluster: 'c', id: '1' } }));
    fc.assert(
      fc.property(path, fc.jsonValue(), (at, value) => {
        const changed = replaced(record, at, value) as TaskRecord;
        const parsed = parseRecord(Buffer.from(checkedJson(changed)), record.key);
        // What is let through names no file of elsewhere, and is under the key that its manifest has.
        if (parsed === null) return;
        expect(manifestKey(parsed.manifest)).toBe(record.key);
        for (const artifact of Object.values(parsed.outputs)) expect(artifact.digest).toMatch(/^[0-9a-f]{64}$/);
        for (const output of Object.values(parsed.manifest.outputs)) expect(pathProblem(output)).toBeNull();
        expect(parsed.log).toMatch(/^[0-9a-f]{64}$/);
      }),
      { numRuns: 3000 },
    );
  });

  test.each(['../x', '/etc/x', 'a/../../x', 'a\0b', '', '.'])(
    'a record whose output lies at %j is none, though its key is right',
    (path) => {
      const changed = { ...manifest, outputs: { out: path } };
      const key = manifestKey(changed);
      expect(parseRecord(Buffer.from(checkedJson({ ...record, key, manifest: changed })), key)).toBeNull();
    },
  );

  test.each(['../x', '/x', 'a/../../x', 'a/..', '..'])('a listing that names %j is refused', (path) => {
    expect(() => parseListing(JSON.stringify({ folder: 1, entries: [[path, digest, 1]] }))).toThrow('the listing');
  });

  test('noise is no listing', () => {
    fc.assert(
      fc.property(fc.oneof(fc.jsonValue(), fc.record({ folder: fc.constant(1), entries: fc.jsonValue() })), (value) => {
        try {
          for (const { path } of parseListing(JSON.stringify(value)))
            expect(join('/folder', path)).toMatch(/^\/folder\/./s);
        } catch (error) {
          expect((error as Error).message).toMatch(/listing/);
        }
      }),
      { numRuns: 2000 },
    );
  });
});

/** Every place in a value, as a path of keys. */
function paths(value: unknown, at: readonly string[] = []): (readonly string[])[] {
  if (value === null || typeof value !== 'object') return [at];
  return [at, ...Object.entries(value).flatMap(([key, below]) => paths(below, [...at, key]))];
}

function replaced(value: unknown, [key, ...rest]: readonly string[], by: unknown): unknown {
  if (key === undefined) return by;
  return { ...(value as object), [key]: replaced((value as Record<string, unknown> | undefined)?.[key], rest, by) };
}
