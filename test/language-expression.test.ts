/** Expressions: what they mean, that printing and parsing agree, and that no text makes anything but an ExpressionError. */
import fc from 'fast-check';
import { describe, expect, it, test } from 'vitest';
import { evaluate, type Scope } from '../engine/evaluate.ts';
import { type Expression, ExpressionError, parseExpression } from '../engine/expression.ts';
import type { Json } from '../engine/stage.ts';

const scope: Scope = {
  params: { steps: 20, seeds: [1, 2, 3], data: 'generated', model: { width: 128, 'n-layer': 4 }, none: null },
  matrix: { precision: 'nf4', rank: 8 },
};

function value(text: string): Json {
  return evaluate(parseExpression(`${text} }}`, 0).tree, scope);
}

/** The error of an expression, with the part of the text that it points at. */
function problem(text: string): { message: string; at: string; hint: string | null } {
  const whole = `${text} }}`;
  try {
    evaluate(parseExpression(whole, 0).tree, scope);
  } catch (error) {
    if (!(error instanceof ExpressionError)) throw error;
    return { message: error.message, at: whole.slice(error.start, error.end), hint: error.hint };
  }
  throw new Error(`${text} has a value`);
}

test.each<[string, Json]>([
  ['1 + 2 * 3', 7],
  ['(1 + 2) * 3', 9],
  ['10 - 4 - 3', 3],
  ['2 * -3', -6],
  ['--2', 2],
  ['1 / 4', 0.25],
  ['2e-4 * 10', 0.002],
  ["'it''s'", "it's"],
  ["'a' + 'b'", 'ab'],
  ['params.model.width / 2', 64],
  ["params.model['n-layer']", 4],
  ['params.seeds[1]', 2],
  ['params.seeds', [1, 2, 3]],
  ['matrix.rank >= 8 && matrix.rank < 16', true],
  ["matrix.precision == 'nf4' && 4 || 16", 4],
  ["matrix.precision == 'bf16' && 4 || 16", 16],
  ["params.none || 'default'", 'default'],
  ['!params.none', true],
  ['1 == 1.0', true],
  ["1 == '1'", false],
  ['params.seeds == [1, 2, 3]', true],
  ["{ a: 1, 'b c': [2] } == { 'b c': [2], a: 1 }", true],
  ['{ a: { b: 1 }}.a.b', 1],
  ["join(params.seeds, '+')", '1+2+3'],
  ["format('{0}-{1}{{}}', matrix.precision, 8)", 'nf4-8{}'],
  ["contains(params.seeds, 2) && contains('k+v', 'v')", true],
  ["startsWith(params.data, 'gen') && endsWith(params.data, 'ted')", true],
  ['length(params.seeds) + length(params.data) + length(params.model)', 14],
  ['toJSON(params.model)', '{"width":128,"n-layer":4}'],
  ['null', null],
])('%s', (text, wanted) => {
  expect(value(text)).toEqual(wanted);
});

test.each([
  ['', { message: 'the expression is empty', at: '}}' }],
  ['1 +', { message: 'the expression ends where a value should be', at: '}}' }],
  ['1 2', { message: 'there is 2 where an operator or }} should be', at: '2' }],
  ['(1', { message: 'the expression ends where ) should be', at: '}}' }],
  ['params.', { message: 'the expression ends where a name should be', at: '}}' }],
  ["'abc", { message: 'the string is not closed', at: "'abc }}" }],
  ['params.step', { message: 'params has no "step"', at: 'params.step', hint: 'did you mean "steps"?' }],
  ['parms.steps', { message: 'unknown name "parms"', at: 'parms', hint: 'did you mean "params"?' }],
  ['steps', { message: 'unknown name "steps"', at: 'steps', hint: 'write params.steps' }],
  ['1 + steps * 2', { message: 'unknown name "steps"', at: 'steps', hint: 'write params.steps' }],
  ['lenght(params.seeds)', { message: 'unknown function "lenght"', hint: 'did you mean "length"?' }],
  ['length()', { message: 'length does not take 0 arguments', hint: 'write length(list, map or string)' }],
  ['length', { message: 'length is a function', hint: 'write length(list, map or string)' }],
  ['params.seeds[3]', { message: 'there is no item 3: the list has 3', at: '3', hint: 'items count from 0' }],
  ['params.steps.x', { message: 'params.steps is a number: it has no "x"' }],
  [
    "1 + 'a'",
    {
      message: '+ needs two numbers or two strings, not a number and a string',
      hint: "join values of other types with format('{0}{1}', a, b)",
    },
  ],
  ["'a' * 2", { message: '* needs two numbers, not a string and a number', at: "'a' * 2" }],
  ['1 / 0', { message: '1 / 0 is not a finite number', at: '1 / 0' }],
  ['"text"', { message: 'unexpected "', at: '"', hint: "strings are written in single quotes: 'text'" }],
  ['a ? b', { message: 'unexpected ?', at: '?', hint: "a choice is written condition && 'this' || 'that'" }],
  ['params.steps = 1', { message: 'unexpected =', at: '=', hint: 'compare with ==' }],
  ['{ __proto__: 1 }', { message: 'the key "__proto__" is not allowed', at: '__proto__' }],
  ["params['__proto__']", { message: 'params has no "__proto__"' }],
  ['params.constructor', { message: 'params has no "constructor"' }],
  ['toString()', { message: 'unknown function "toString"' }],
  ["format('{1}', 1)", { message: 'format: the pattern names {1}, but 1 values are given' }],
])('%s is refused', (text, wanted) => {
  expect(problem(text)).toMatchObject(wanted);
});

describe('a tree', () => {
  const name = fc.stringMatching(/^[a-z_][a-z0-9_]{0,5}$/).filter((word) => !['true', 'false', 'null'].includes(word));
  const place = { start: fc.constant(0), end: fc.constant(0) };
  const operators = ['||', '&&', '==', '!=', '<', '<=', '>', '>=', '+', '-', '*', '/'] as const;
  const { tree } = fc.letrec<{ tree: Expression }>((tie) => ({
    tree: fc.oneof(
      { depthSize: 'small', withCrossShrink: true },
      fc.record({
        kind: fc.constant('literal' as const),
        value: fc.oneof(
          fc.constant(null),
          fc.boolean(),
          fc.string(),
          fc.double({ min: 0, noNaN: true, noDefaultInfinity: true }),
        ),
        ...place,
      }),
      fc.record({ kind: fc.constant('name' as const), name, ...place }),
      fc.record({ kind: fc.constant('member' as const), object: tie('tree'), property: name, ...place }),
      fc.record({ kind: fc.constant('index' as const), object: tie('tree'), index: tie('tree'), ...place }),
      fc.record({ kind: fc.constant('call' as const), name, args: fc.array(tie('tree'), { maxLength: 3 }), ...place }),
      fc.record({ kind: fc.constant('list' as const), items: fc.array(tie('tree'), { maxLength: 3 }), ...place }),
      fc.record({
        kind: fc.constant('map' as const),
        entries: fc.array(fc.tuple(name, tie('tree')), { maxLength: 3 }),
        ...place,
      }),
      fc.record({
        kind: fc.constant('unary' as const),
        operator: fc.constantFrom('!' as const, '-' as const),
        operand: tie('tree'),
        ...place,
      }),
      fc.record({
        kind: fc.constant('binary' as const),
        operator: fc.constantFrom(...operators),
        left: tie('tree'),
        right: tie('tree'),
        ...place,
      }),
    ),
  }));

  it('is what its text is parsed to', () => {
    fc.assert(
      fc.property(tree, fc.constantFrom('', ' ', '\n\t'), (wanted, space) => {
        const text = `${print(wanted, space)}${space}}} rest`;
        const { tree: found, end } = parseExpression(text, 0);
        expect(withoutPlaces(found)).toEqual(withoutPlaces(wanted));
        expect(text.slice(end)).toBe(' rest');
      }),
      { numRuns: 500 },
    );
  });

  /** Writes a tree with every operand in parentheses, so that no precedence is assumed. */
  function print(expression: Expression, space: string): string {
    const inner = (part: Expression) => `(${space}${print(part, space)}${space})`;
    switch (expression.kind) {
      case 'literal':
        return typeof expression.value === 'string'
          ? `'${expression.value.replaceAll("'", "''")}'`
          : String(expression.value);
      case 'name':
        return expression.name;
      case 'member':
        return `${inner(expression.object)}${space}.${space}${expression.property}`;
      case 'index':
        return `${inner(expression.object)}[${inner(expression.index)}]`;
      case 'call':
        return `${expression.name}(${expression.args.map(inner).join(`${space},`)})`;
      case 'list':
        return `[${expression.items.map(inner).join(`,${space}`)}]`;
      case 'map':
        return `{${expression.entries.map(([key, part]) => `${key}${space}:${inner(part)}`).join(',')}}`;
      case 'unary':
        return `${expression.operator}${space}${inner(expression.operand)}`;
      case 'binary':
        return `${inner(expression.left)}${space}${expression.operator}${space}${inner(expression.right)}`;
    }
  }

  function withoutPlaces(part: unknown): unknown {
    return JSON.parse(JSON.stringify(part, (key, item) => (key === 'start' || key === 'end' ? undefined : item)));
  }
});

describe('any text', () => {
  const pieces = fc.constantFrom(
    'params',
    'matrix',
    '.',
    '[',
    ']',
    '(',
    ')',
    '{',
    '}',
    ',',
    ':',
    '&&',
    '||',
    '!',
    '-',
    '+',
    '==',
    '<',
    "'a'",
    '1',
    '1e999',
    ' ',
    'join',
    'null',
    '}}',
    '$',
    '"',
  );
  const text = fc.oneof(
    fc.string(),
    fc.string({ unit: 'binary' }),
    fc.array(pieces).map((parts) => parts.join('')),
  );

  it('has a value, or an error within the text', () => {
    fc.assert(
      fc.property(text, (random) => {
        const whole = `${random}}}`;
        try {
          const { tree, end } = parseExpression(whole, 0);
          expect(end).toBeLessThanOrEqual(whole.length);
          evaluate(tree, scope);
        } catch (error) {
          if (!(error instanceof ExpressionError)) throw error;
          expect(error.start).toBeGreaterThanOrEqual(0);
          expect(error.start).toBeLessThanOrEqual(whole.length);
          expect(error.end).toBeGreaterThanOrEqual(error.start);
        }
      }),
      { numRuns: 2000 },
    );
  });

  test.each([
    ['parentheses', (depth: number) => '('.repeat(depth)],
    ['lists', (depth: number) => '['.repeat(depth)],
    ['negations', (depth: number) => `${'!'.repeat(depth)}1`],
    ['sums', (depth: number) => `1${'+1'.repeat(depth)}`],
    ['members', (depth: number) => `params${'.a'.repeat(depth)}`],
  ])('of a hundred thousand %s is refused, not followed', (_, make) => {
    expect(() => parseExpression(`${make(100_000)} }}`, 0)).toThrow(ExpressionError);
  });
});
