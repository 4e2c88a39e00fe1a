/** What a stage module must declare, checked when it is first read: nobody need run a type checker for a clear answer. */
import { overlapOf } from './paths.ts';
import { SchemaChecker } from './schema.ts';

const described = (properties: object, required: readonly string[] = []) => ({
  type: 'object',
  additionalProperties: {
    type: 'object',
    required: ['description', ...required],
    additionalProperties: false,
    properties: { description: { type: 'string' }, ...properties },
  },
});
const number = { type: 'number' };
const list = { type: 'array' };
const constraints = {
  type: { enum: ['string', 'integer', 'number', 'boolean', 'array', 'object'] },
  enum: list,
  minimum: number,
  exclusiveMinimum: number,
  maximum: number,
  pattern: { type: 'string' },
  minItems: { type: 'integer' },
  format: { enum: ['source'] },
  items: { $ref: '#/definitions/items' },
};

/** `StageInterface` of engine/stage.ts, as a schema. */
const schema = {
  definitions: { items: { type: 'object', required: ['type'], additionalProperties: false, properties: constraints } },
  type: 'object',
  required: ['description', 'params', 'inputs', 'outputs'],
  properties: {
    description: { type: 'string' },
    params: described({ ...constraints, default: {} }, ['type']),
    inputs: described({ many: { enum: [true] }, optional: { enum: [true] }, lineage: { enum: [true] } }),
    outputs: described({ path: { type: 'string' } }, ['path']),
    environment: { type: 'array', items: { type: 'string' } },
    accelerated: { type: 'boolean' },
  },
};

/** @returns what is wrong with that which a stage module declares, one line each; none for a `StageInterface`. */
export function declarationProblems(declared: object): readonly string[] {
  const problems = new SchemaChecker().problemsOf(schema, declared);
  if (problems.length > 0) return problems;
  const { outputs } = declared as { readonly outputs: Readonly<Record<string, { readonly path: string }>> };
  const overlap = overlapOf(Object.fromEntries(Object.entries(outputs).map(([name, { path }]) => [name, path])));
  return overlap === null ? [] : [`outputs.${overlap[0]}.path: must not be inside that of outputs.${overlap[1]}`];
}
