/** Gives an expression its value. */
import { type BinaryOperator, type Expression, ExpressionError } from './expression.ts';
import { FUNCTIONS, isEqual, typeName } from './functions.ts';
import type { Json } from './stage.ts';
import { suggest } from './suggest.ts';

/** The names that an expression may begin with (`params`, `matrix`, ...) and what each holds. */
export type Scope = Readonly<Record<string, { readonly [key: string]: Json }>>;

/**
 * Evaluates a tree. `&&` and `||` give the operand that decided, as in JavaScript; null, false, 0 and '' count as false.
 * Nothing is converted silently: `+` adds two numbers or joins two strings, `<` compares two of a kind.
 * @throws ExpressionError for an unknown name, a wrong type, or a result that is no finite number
 */
export function evaluate(tree: Expression, scope: Scope): Json {
  switch (tree.kind) {
    case 'literal':
      return tree.value;
    case 'name':
      return root(tree, scope);
    case 'member':
      return member(tree, evaluate(tree.object, scope), tree.property);
    case 'index':
      return index(tree, evaluate(tree.object, scope), evaluate(tree.index, scope));
    case 'call':
      return call(tree, scope);
    case 'list':
      return tree.items.map((item) => evaluate(item, scope));
    case 'map':
      return Object.fromEntries(tree.entries.map(([key, value]) => [key, evaluate(value, scope)]));
    case 'unary':
      return unary(tree, evaluate(tree.operand, scope));
    case 'binary':
      return binary(tree, scope);
  }
}

/** @returns the names that a tree begins its look-ups with: what its value can depend on. */
export function rootsOf(tree: Expression): ReadonlySet<string> {
  switch (tree.kind) {
    case 'literal':
      return new Set();
    case 'name':
      return new Set([tree.name]);
    case 'member':
      return rootsOf(tree.object);
    case 'index':
      return new Set([...rootsOf(tree.object), ...rootsOf(tree.index)]);
    case 'call':
      return new Set(tree.args.flatMap((argument) => [...rootsOf(argument)]));
    case 'list':
      return new Set(tree.items.flatMap((item) => [...rootsOf(item)]));
    case 'map':
      return new Set(tree.entries.flatMap(([, value]) => [...rootsOf(value)]));
    case 'unary':
      return rootsOf(tree.operand);
    case 'binary':
      return new Set([...rootsOf(tree.left), ...rootsOf(tree.right)]);
  }
}

function root(tree: Extract<Expression, { kind: 'name' }>, scope: Scope): Json {
  if (Object.hasOwn(scope, tree.name)) return scope[tree.name]!;
  if (Object.hasOwn(FUNCTIONS, tree.name)) {
    throw new ExpressionError(`${tree.name} is a function`, tree, `write ${FUNCTIONS[tree.name]!.signature}`);
  }
  for (const [name, values] of Object.entries(scope)) {
    if (Object.hasOwn(values, tree.name)) {
      throw new ExpressionError(`unknown name "${tree.name}"`, tree, `write ${name}.${tree.name}`);
    }
  }
  throw new ExpressionError(
    `unknown name "${tree.name}"`,
    tree,
    suggest(tree.name, Object.keys(scope), 'names known here'),
  );
}

function member(tree: Expression, object: Json, property: string): Json {
  const text = tree.kind === 'member' || tree.kind === 'index' ? describe(tree.object) : 'the value';
  if (object === null || typeof object !== 'object' || Array.isArray(object)) {
    throw new ExpressionError(`${text} is ${typeName(object)}: it has no "${property}"`, tree);
  }
  if (!Object.hasOwn(object, property)) {
    const known = Object.keys(object);
    const hint =
      known.length === 0 ? `nothing is declared under "${text}"` : suggest(property, known, `names in ${text}`);
    throw new ExpressionError(`${text} has no "${property}"`, tree, hint);
  }
  return object[property]!;
}

function index(tree: Extract<Expression, { kind: 'index' }>, object: Json, at: Json): Json {
  if (typeof at === 'string') return member(tree, object, at);
  if (!Array.isArray(object))
    throw new ExpressionError(`${describe(tree.object)} is ${typeName(object)}, not a list`, tree);
  if (typeof at !== 'number')
    throw new ExpressionError(`an index is a number or a string, not ${typeName(at)}`, tree.index);
  const item = object[at];
  if (item === undefined) {
    throw new ExpressionError(
      `there is no item ${at}: the list has ${object.length}`,
      tree.index,
      'items count from 0',
    );
  }
  return item;
}

function call(tree: Extract<Expression, { kind: 'call' }>, scope: Scope): Json {
  const named = Object.hasOwn(FUNCTIONS, tree.name) ? FUNCTIONS[tree.name]! : null;
  if (named === null) {
    throw new ExpressionError(
      `unknown function "${tree.name}"`,
      tree,
      suggest(tree.name, Object.keys(FUNCTIONS), 'functions'),
    );
  }
  if (tree.args.length < named.minimum || tree.args.length > named.maximum) {
    const given = `${tree.args.length} argument${tree.args.length === 1 ? '' : 's'}`;
    throw new ExpressionError(`${tree.name} does not take ${given}`, tree, `write ${named.signature}`);
  }
  const values = tree.args.map((argument) => evaluate(argument, scope));
  try {
    return named.apply(values);
  } catch (error) {
    throw new ExpressionError(`${tree.name}: ${(error as Error).message}`, tree, `write ${named.signature}`);
  }
}

function unary(tree: Extract<Expression, { kind: 'unary' }>, operand: Json): Json {
  if (tree.operator === '!') return !isTrue(operand);
  if (typeof operand !== 'number') throw new ExpressionError(`- needs a number, not ${typeName(operand)}`, tree);
  return -operand;
}

function binary(tree: Extract<Expression, { kind: 'binary' }>, scope: Scope): Json {
  const left = evaluate(tree.left, scope);
  if (tree.operator === '&&') return isTrue(left) ? evaluate(tree.right, scope) : left;
  if (tree.operator === '||') return isTrue(left) ? left : evaluate(tree.right, scope);
  const right = evaluate(tree.right, scope);
  if (tree.operator === '==') return isEqual(left, right);
  if (tree.operator === '!=') return !isEqual(left, right);
  const operate = STRICT[tree.operator];
  if (typeof left === 'number' && typeof right === 'number') {
    const result = operate.numbers(left, right);
    if (typeof result === 'number' && !Number.isFinite(result)) {
      throw new ExpressionError(`${left} ${tree.operator} ${right} is not a finite number`, tree);
    }
    return result;
  }
  if (typeof left === 'string' && typeof right === 'string' && operate.strings !== null)
    return operate.strings(left, right);
  const kinds = operate.strings === null ? 'two numbers' : 'two numbers or two strings';
  const hint = tree.operator === '+' ? "join values of other types with format('{0}{1}', a, b)" : null;
  throw new ExpressionError(
    `${tree.operator} needs ${kinds}, not ${typeName(left)} and ${typeName(right)}`,
    tree,
    hint,
  );
}

interface StrictOperation {
  readonly numbers: (a: number, b: number) => Json;
  readonly strings: ((a: string, b: string) => Json) | null;
}

/** The operators that want both operands of one type. */
const STRICT: Readonly<Record<Exclude<BinaryOperator, '&&' | '||' | '==' | '!='>, StrictOperation>> = {
  '<': { numbers: (a, b) => a < b, strings: (a, b) => a < b },
  '<=': { numbers: (a, b) => a <= b, strings: (a, b) => a <= b },
  '>': { numbers: (a, b) => a > b, strings: (a, b) => a > b },
  '>=': { numbers: (a, b) => a >= b, strings: (a, b) => a >= b },
  '+': { numbers: (a, b) => a + b, strings: (a, b) => a + b },
  '-': { numbers: (a, b) => a - b, strings: null },
  '*': { numbers: (a, b) => a * b, strings: null },
  '/': { numbers: (a, b) => a / b, strings: null },
};

function isTrue(value: Json): boolean {
  return value !== null && value !== false && value !== 0 && value !== '';
}

function describe(tree: Expression): string {
  if (tree.kind === 'name') return tree.name;
  if (tree.kind === 'member') return `${describe(tree.object)}.${tree.property}`;
  if (tree.kind === 'call') return `${tree.name}(...)`;
  return 'the value';
}
