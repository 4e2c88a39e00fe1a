/** The language inside `${{ }}`: its grammar, from text to a tree. */

/** A binary operator, as written. */
export type BinaryOperator = '||' | '&&' | '==' | '!=' | '<' | '<=' | '>' | '>=' | '+' | '-' | '*' | '/';

/** An expression. `start` and `end` are offsets in the text that was parsed. */
export type Expression =
  | {
      readonly kind: 'literal';
      readonly value: null | boolean | number | string;
      readonly start: number;
      readonly end: number;
    }
  | { readonly kind: 'name'; readonly name: string; readonly start: number; readonly end: number }
  | {
      readonly kind: 'member';
      readonly object: Expression;
      readonly property: string;
      readonly start: number;
      readonly end: number;
    }
  | {
      readonly kind: 'index';
      readonly object: Expression;
      readonly index: Expression;
      readonly start: number;
      readonly end: number;
    }
  | {
      readonly kind: 'call';
      readonly name: string;
      readonly args: readonly Expression[];
      readonly start: number;
      readonly end: number;
    }
  | { readonly kind: 'list'; readonly items: readonly Expression[]; readonly start: number; readonly end: number }
  | {
      readonly kind: 'map';
      readonly entries: readonly (readonly [key: string, value: Expression])[];
      readonly start: number;
      readonly end: number;
    }
  | {
      readonly kind: 'unary';
      readonly operator: '!' | '-';
      readonly operand: Expression;
      readonly start: number;
      readonly end: number;
    }
  | {
      readonly kind: 'binary';
      readonly operator: BinaryOperator;
      readonly left: Expression;
      readonly right: Expression;
      readonly start: number;
      readonly end: number;
    };

/** An error in an expression, at offsets `start` to `end` of the text; whoever knows the file turns it into a diagnostic. */
export class ExpressionError extends Error {
  override readonly name = 'ExpressionError';
  readonly start: number;
  readonly end: number;
  readonly hint: string | null;

  constructor(message: string, at: { readonly start: number; readonly end: number }, hint: string | null = null) {
    super(message);
    this.start = at.start;
    this.end = at.end;
    this.hint = hint;
  }
}

interface Token {
  readonly kind: 'number' | 'string' | 'name' | 'operator' | 'end';
  readonly text: string;
  readonly start: number;
  readonly end: number;
}

const SPACE = /\s+/y;
const NUMBER = /(?:\d+(?:\.\d+)?|\.\d+)(?:[eE][+-]?\d+)?/y;
const STRING = /'(?:[^']|'')*'/y;
const NAME = /[A-Za-z_][A-Za-z0-9_]*/y;
const OPERATOR = /\|\||&&|==|!=|<=|>=|[<>+\-*/!()[\]{}.,:]/y;
const CLOSE = /\}\}/y;

/** What people write from other languages, and what it is called here. */
const FOREIGN: Readonly<Record<string, string>> = {
  '"': "strings are written in single quotes: 'text'",
  '=': 'compare with ==',
  '&': 'and is written &&',
  '|': 'or is written ||',
  '?': "a choice is written condition && 'this' || 'that'",
  $: 'an expression holds no ${{ of its own',
};

/** Binding strength of the binary operators; all associate to the left. */
const PRECEDENCE: Readonly<Record<BinaryOperator, number>> = {
  '||': 1,
  '&&': 2,
  '==': 3,
  '!=': 3,
  '<': 4,
  '<=': 4,
  '>': 4,
  '>=': 4,
  '+': 5,
  '-': 5,
  '*': 6,
  '/': 6,
};

/** The deepest nesting accepted: keeps the recursive parser and evaluator within the stack. */
const MAX_DEPTH = 100;

/**
 * Parses the expression that begins at `from` and ends before `}}`.
 * @returns the tree, and the offset just behind `}}`.
 * @throws ExpressionError
 */
export function parseExpression(text: string, from: number): { readonly tree: Expression; readonly end: number } {
  return new Parser(text, from).parse();
}

/** A recursive-descent parser; binary operators by precedence climbing. */
class Parser {
  readonly #text: string;
  #token: Token;
  #previousEnd: number;
  #depth = 0;
  /** How many map literals are open: within one, `}}` closes maps, not the expression. */
  #maps = 0;

  constructor(text: string, from: number) {
    this.#text = text;
    this.#previousEnd = from;
    this.#token = this.#lex(from);
  }

  parse(): { tree: Expression; end: number } {
    if (this.#isAtEnd()) throw new ExpressionError('the expression is empty', this.#token);
    const tree = this.#binary(1);
    if (!this.#isAtEnd()) throw this.#unexpected('an operator or }}');
    return { tree, end: this.#token.end };
  }

  #lex(from: number): Token {
    SPACE.lastIndex = from;
    const start = from + (SPACE.exec(this.#text)?.[0].length ?? 0);
    if (start >= this.#text.length) {
      throw new ExpressionError('the expression is not closed', { start, end: start + 1 }, 'close it with }}');
    }
    const token = (kind: Token['kind'], pattern: RegExp): Token | null => {
      pattern.lastIndex = start;
      const match = pattern.exec(this.#text);
      return match === null ? null : { kind, text: match[0], start, end: start + match[0].length };
    };
    const found =
      (this.#maps === 0 ? token('end', CLOSE) : null) ??
      token('number', NUMBER) ??
      token('string', STRING) ??
      token('name', NAME) ??
      token('operator', OPERATOR);
    if (found !== null) return found;
    const character = this.#text[start]!;
    if (character === "'") {
      throw new ExpressionError(
        'the string is not closed',
        { start, end: this.#text.length },
        "a quote inside a string is written ''",
      );
    }
    throw new ExpressionError(`unexpected ${character}`, { start, end: start + 1 }, FOREIGN[character] ?? null);
  }

  #advance(): Token {
    const token = this.#token;
    if (this.#isOperator('{')) this.#maps++;
    if (this.#isOperator('}')) this.#maps--;
    this.#previousEnd = token.end;
    this.#token = this.#lex(token.end);
    return token;
  }

  #isAtEnd(): boolean {
    return this.#token.kind === 'end';
  }

  #isOperator(text: string): boolean {
    return this.#token.kind === 'operator' && this.#token.text === text;
  }

  #expect(text: string): void {
    if (!this.#isOperator(text)) throw this.#unexpected(text);
    this.#advance();
  }

  #unexpected(wanted: string): ExpressionError {
    const found = this.#token.kind === 'end' ? 'the expression ends' : `there is ${this.#token.text}`;
    return new ExpressionError(`${found} where ${wanted} should be`, this.#token);
  }

  #binary(minimum: number): Expression {
    if (++this.#depth > MAX_DEPTH) throw new ExpressionError(`nested more than ${MAX_DEPTH} levels deep`, this.#token);
    let left = this.#unary();
    let length = 0;
    while (this.#token.kind === 'operator' && Object.hasOwn(PRECEDENCE, this.#token.text)) {
      const operator = this.#token.text as BinaryOperator;
      const strength = PRECEDENCE[operator];
      if (strength < minimum) break;
      // A chain leans to the left, one level of the tree for each operator.
      if (++length > MAX_DEPTH) throw new ExpressionError(`more than ${MAX_DEPTH} operators in a row`, this.#token);
      this.#advance();
      const right = this.#binary(strength + 1);
      left = { kind: 'binary', operator, left, right, start: left.start, end: right.end };
    }
    this.#depth--;
    return left;
  }

  #unary(): Expression {
    if (!this.#isOperator('!') && !this.#isOperator('-')) return this.#postfix();
    if (++this.#depth > MAX_DEPTH) throw new ExpressionError(`nested more than ${MAX_DEPTH} levels deep`, this.#token);
    const { start, text } = this.#advance();
    const operand = this.#unary();
    this.#depth--;
    return { kind: 'unary', operator: text as '!' | '-', operand, start, end: operand.end };
  }

  #postfix(): Expression {
    let object = this.#primary();
    for (let length = 0; ; length++) {
      if (length > MAX_DEPTH) throw new ExpressionError(`more than ${MAX_DEPTH} steps in a row`, this.#token);
      if (this.#isOperator('.')) {
        this.#advance();
        if (this.#token.kind !== 'name') throw this.#unexpected('a name');
        const { text, end } = this.#advance();
        object = { kind: 'member', object, property: text, start: object.start, end };
      } else if (this.#isOperator('[')) {
        this.#advance();
        const index = this.#binary(1);
        this.#expect(']');
        object = { kind: 'index', object, index, start: object.start, end: this.#previousEnd };
      } else {
        return object;
      }
    }
  }

  #primary(): Expression {
    const { kind, text, start, end } = this.#token;
    if (kind === 'number') {
      const value = Number(text);
      if (!Number.isFinite(value)) throw new ExpressionError(`${text} is too large a number`, this.#token);
      this.#advance();
      return { kind: 'literal', value, start, end };
    }
    if (kind === 'string') {
      this.#advance();
      return { kind: 'literal', value: unquote(text), start, end };
    }
    if (kind === 'name') {
      this.#advance();
      if (text === 'true' || text === 'false') return { kind: 'literal', value: text === 'true', start, end };
      if (text === 'null') return { kind: 'literal', value: null, start, end };
      return this.#isOperator('(') ? this.#call(text, start) : { kind: 'name', name: text, start, end };
    }
    if (this.#isOperator('(')) {
      this.#advance();
      const inner = this.#binary(1);
      this.#expect(')');
      return inner;
    }
    if (this.#isOperator('[')) {
      const items = this.#sequence('[', ']', () => this.#binary(1));
      return { kind: 'list', items, start, end: this.#previousEnd };
    }
    if (this.#isOperator('{')) {
      const entries = this.#sequence('{', '}', () => this.#entry());
      return { kind: 'map', entries, start, end: this.#previousEnd };
    }
    throw this.#unexpected('a value');
  }

  #call(name: string, start: number): Expression {
    const args = this.#sequence('(', ')', () => this.#binary(1));
    return { kind: 'call', name, args, start, end: this.#previousEnd };
  }

  #entry(): readonly [string, Expression] {
    const key = this.#token;
    if (key.kind !== 'name' && key.kind !== 'string') throw this.#unexpected('a key');
    const name = key.kind === 'string' ? unquote(key.text) : key.text;
    if (name === '__proto__') throw new ExpressionError(`the key "${name}" is not allowed`, key);
    this.#advance();
    this.#expect(':');
    return [name, this.#binary(1)];
  }

  /** Items between brackets, separated by commas. */
  #sequence<T>(open: string, close: string, item: () => T): readonly T[] {
    this.#expect(open);
    const items: T[] = [];
    while (!this.#isOperator(close)) {
      if (items.length > 0) this.#expect(',');
      items.push(item());
    }
    this.#expect(close);
    return items;
  }
}

function unquote(text: string): string {
  return text.slice(1, -1).replaceAll("''", "'");
}
