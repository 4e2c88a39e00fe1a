/** The published JSON Schema: it is valid, describes every key, and its examples are examples of what they stand at. */
import { Ajv } from 'ajv';
import { describe, expect, it } from 'vitest';
import schema from '../engine/pipeline.schema.json' with { type: 'json' };

interface Part {
  readonly path: string;
  readonly schema: Readonly<Record<string, unknown>>;
}

/** Every schema below `value` that stands for a value of the file. */
function* partsOf(value: unknown, path = '#'): Iterable<Part> {
  if (value === null || typeof value !== 'object') return;
  if (!Array.isArray(value) && ('type' in value || '$ref' in value)) yield { path, schema: value as Part['schema'] };
  for (const [key, below] of Object.entries(value)) {
    if (key !== 'examples') yield* partsOf(below, `${path}/${key.replaceAll('/', '~1')}`);
  }
}

const ajv = new Ajv({
  allowUnionTypes: true,
  strictTypes: false,
  strictRequired: false,
  keywords: ['patternErrorMessage'],
});
ajv.addSchema(schema);

const parts = [...partsOf(schema)];

describe.each(parts.filter((part) => 'examples' in part.schema))('the examples at $path', ({ path, schema: part }) => {
  it.each(part.examples as unknown[])('%j', (example) => {
    expect(ajv.validate(`${schema.$id}${path}`, example), ajv.errorsText()).toBe(true);
  });
});

it.each(parts.filter(({ path }) => /\/properties\/\w+$/.test(path)))('$path is described', ({ schema: part }) => {
  expect(part.description).toMatch(/\.$/);
});
