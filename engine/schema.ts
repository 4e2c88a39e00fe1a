/** Checks values against JSON Schemas, and says what is wrong in words and places of the file. */
import { Ajv, type ErrorObject, type ValidateFunction } from 'ajv';
import type { DiagnosticList, Span } from './diagnostics.ts';
import { typeName } from './functions.ts';
import pipelineSchema from './pipeline.schema.json' with { type: 'json' };
import { keySpan, type Node, nodeAt, toJson } from './source.ts';
import type { Json, ParamSpec } from './stage.ts';
import { suggest } from './suggest.ts';

/** A finding about a value: `path` leads to it, and `key` is the key below it that is at fault. */
interface Finding {
  readonly path: readonly string[];
  readonly key: string | null;
  readonly message: string;
  readonly hint: string | null;
}

/** Compiles schemas once. One object serves one loading. */
export class SchemaChecker {
  readonly #ajv = new Ajv({
    allErrors: true,
    verbose: true,
    allowUnionTypes: true,
    strictTypes: false,
    strictRequired: false,
    keywords: ['patternErrorMessage'],
  });
  readonly #params = new WeakMap<Readonly<Record<string, ParamSpec>>, ValidateFunction>();
  readonly #files = new Map<object, ValidateFunction>();

  /**
   * Checks the shape of a whole pipeline file and reports what is wrong.
   * @returns the values that are wrong, to be left out of what follows
   */
  checkPipeline(root: Node, diagnostics: DiagnosticList): ReadonlySet<Node> {
    return this.checkFile(pipelineSchema, root, diagnostics);
  }

  /** Checks the shape of a whole file, as `checkPipeline` does, against a schema of its own. */
  checkFile(schema: object, root: Node, diagnostics: DiagnosticList): ReadonlySet<Node> {
    let validate = this.#files.get(schema);
    if (validate === undefined) {
      validate = this.#ajv.compile(schema);
      this.#files.set(schema, validate);
    }
    const findings = this.#check(validate, toJson(root));
    for (const { path, key, message, hint } of findings) diagnostics.report(spanAt(root, path, key), message, hint);
    return new Set(findings.filter(({ key }) => key === null).map(({ path }) => nodeAt(root, path)));
  }

  /**
   * Checks a stage's parameters against their specifications.
   * @param stage the stage module's name, for messages
   * @param at where the parameters are written, for places; a place inside an expression's value is the expression's own
   */
  checkParams(
    stage: string,
    specs: Readonly<Record<string, ParamSpec>>,
    values: Readonly<Record<string, Json>>,
    at: (name: string, path: readonly string[], isKey: boolean) => Span,
    diagnostics: DiagnosticList,
  ): void {
    let validate = this.#params.get(specs);
    if (validate === undefined) {
      validate = this.#ajv.compile(paramsSchema(specs));
      this.#params.set(specs, validate);
    }
    for (const { path, key, message, hint } of this.#check(validate, values)) {
      if (path.length > 0) {
        const [name, ...rest] = path;
        const spec = specs[name!];
        const described = rest.length === 0 ? `parameter "${name}" of ${stage}` : `"${path.join('.')}" of ${stage}`;
        diagnostics.report(at(name!, rest, false), `${described}: ${message}`, hint ?? spec?.description ?? null);
      } else if (Object.hasOwn(specs, key!)) {
        const spec = specs[key!]!;
        diagnostics.report(
          at(key!, [], true),
          `${stage} needs the parameter "${key}"`,
          `${spec.type}: ${spec.description}`,
        );
      } else {
        diagnostics.report(
          at(key!, [], true),
          `${stage} has no parameter "${key}"`,
          suggest(key!, Object.keys(specs), 'parameters'),
        );
      }
    }
  }

  /** Checks a value that is in no file. @returns what is wrong, one line each: `params.rank.type: must be one of ...` */
  problemsOf(schema: object, value: unknown): readonly string[] {
    return this.#check(this.#ajv.compile(schema), value).map(({ path, message, hint }) => {
      const said = hint === null ? message : `${message} (${hint})`;
      return path.length === 0 ? said : `${path.join('.')}: ${said}`;
    });
  }

  #check(validate: ValidateFunction, value: unknown): readonly Finding[] {
    if (validate(value)) return [];
    return (validate.errors ?? []).map(describe).filter((finding) => finding !== null);
  }
}

/** @returns where to point: at the key at fault if there is one, otherwise at the value, or at the key of a list or map. */
function spanAt(root: Node, path: readonly string[], key: string | null): Span {
  const node = nodeAt(root, path);
  if (key !== null && node.kind === 'map' && node.entries.has(key)) return keySpan(node, key);
  const last = path.at(-1);
  return node.kind === 'scalar' || last === undefined ? node.span : keySpan(nodeAt(root, path.slice(0, -1)), last);
}

function paramsSchema(specs: Readonly<Record<string, ParamSpec>>): object {
  const properties = Object.fromEntries(Object.entries(specs).map(([name, spec]) => [name, valueSchema(spec)]));
  const required = Object.keys(specs).filter((name) => specs[name]!.default === undefined);
  return { type: 'object', properties, required, additionalProperties: false };
}

/** Leaves out of a specification what is no constraint. */
function valueSchema(spec: Omit<ParamSpec, 'description' | 'default'>): object {
  const { description, default: _, format, items, ...constraints } = spec as ParamSpec;
  return items === undefined ? constraints : { ...constraints, items: valueSchema(items) };
}

/** Says in words what ajv found; null for what only repeats another finding. */
function describe(error: ErrorObject): Finding | null {
  // What is wrong with a key's name is said once, by `propertyNames`.
  if (error.propertyName !== undefined) return null;
  const path = error.instancePath
    .split('/')
    .slice(1)
    .map((step) => step.replaceAll('~1', '/').replaceAll('~0', '~'));
  const schema = error.parentSchema as { examples?: Json[]; properties?: object; patternErrorMessage?: string };
  const data = error.data as Json;
  const example = schema.examples?.[0];
  const key = path.at(-1);
  const hint = example === undefined ? null : `for example: ${key === undefined ? '' : `${key}: `}${inline(example)}`;
  const at = (message: string, withHint: string | null = hint): Finding => ({
    path,
    key: null,
    message,
    hint: withHint,
  });
  const { params } = error;
  switch (error.keyword) {
    case 'type':
      return at(`must be ${orList(params.type)}, not ${given(data)}`);
    case 'additionalProperties': {
      const key = params.additionalProperty as string;
      return {
        path,
        key,
        message: `unknown key "${key}"`,
        hint: suggest(key, Object.keys(schema.properties ?? {}), 'keys'),
      };
    }
    case 'required':
      return {
        path,
        key: params.missingProperty as string,
        message: `"${params.missingProperty}" is missing`,
        hint,
      };
    case 'pattern': {
      const message = `${JSON.stringify(data)} is not ${schema.patternErrorMessage === undefined ? `of the form ${params.pattern}` : 'valid'}`;
      return at(message, schema.patternErrorMessage ?? hint);
    }
    case 'propertyNames':
      return {
        path,
        key: params.propertyName as string,
        message: `"${params.propertyName}" cannot be a key here`,
        hint: nameRule(schema),
      };
    case 'enum': {
      const allowed = params.allowedValues as Json[];
      const near = typeof data === 'string' ? suggest(data, allowed.map(String), 'values') : null;
      return at(
        `must be one of ${allowed.map(inline).join(', ')}, not ${inline(data)}`,
        near?.startsWith('did') ? near : null,
      );
    }
    case 'minimum':
    case 'maximum':
    case 'exclusiveMinimum':
      return at(`must be ${LIMITS[error.keyword]} ${params.limit}, not ${inline(data)}`);
    case 'minItems':
    case 'minLength':
    case 'minProperties':
      return at(params.limit === 1 ? 'must not be empty' : `must have at least ${params.limit} items`);
    case 'maxProperties':
      return at('must have one key only');
    default:
      return at(error.message ?? error.keyword);
  }
}

const LIMITS = { minimum: 'at least', maximum: 'at most', exclusiveMinimum: 'greater than' } as const;

const TYPE_NAMES: Readonly<Record<string, string>> = {
  string: 'a string',
  number: 'a number',
  integer: 'a whole number',
  boolean: 'true or false',
  array: 'a list',
  object: 'a map',
  null: 'null',
};

function orList(types: string | readonly string[]): string {
  const names = [types].flat().map((type) => TYPE_NAMES[type as string] ?? String(type));
  return names.length < 2 ? names.join() : `${names.slice(0, -1).join(', ')} or ${names.at(-1)}`;
}

function given(value: Json): string {
  if (value === null) return 'empty';
  return typeof value === 'object' ? typeName(value) : JSON.stringify(value);
}

/** A value on one line, as it would be written in YAML. */
function inline(value: Json): string {
  if (Array.isArray(value)) return `[${value.map(inline).join(', ')}]`;
  if (value !== null && typeof value === 'object') {
    return `{ ${Object.entries(value)
      .map(([key, item]) => `${key}: ${inline(item)}`)
      .join(', ')} }`;
  }
  return typeof value === 'string' && /^[\w./][\w./ -]*$/.test(value) ? value : JSON.stringify(value);
}

function nameRule(schema: { propertyNames?: unknown; patternErrorMessage?: string }): string | null {
  const names = schema.propertyNames as { $ref?: string; patternErrorMessage?: string } | undefined;
  return (
    names?.patternErrorMessage ??
    (names?.$ref === undefined ? null : pipelineSchema.definitions.name.patternErrorMessage)
  );
}
