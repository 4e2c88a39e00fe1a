/**
 * The shape of a PROV-JSON document as a JSON Schema, written after sections 2 and 3 of the W3C member submission
 * (https://www.w3.org/submissions/prov-json/): what each kind of record is keyed by, and the attributes that it must have.
 */
import type { SchemaObject } from 'ajv';

/** `prefix:local`, or a blank node for a relation. */
const qualifiedName = { type: 'string', pattern: '^[A-Za-z_][\\w.-]*:[^\\s]+$' };
const dateTime = {
  type: 'string',
  pattern: '^\\d{4}-\\d\\d-\\d\\dT\\d\\d:\\d\\d:\\d\\d(\\.\\d+)?(Z|[+-]\\d\\d:\\d\\d)$',
};
/** Section 2.3: a plain value, or `$` with a `type` (a qualified name) or a `lang`. */
const literal = {
  anyOf: [
    { type: ['string', 'number', 'boolean'] },
    {
      type: 'object',
      required: ['$'],
      additionalProperties: false,
      properties: { $: { type: 'string' }, type: qualifiedName, lang: { type: 'string' } },
    },
  ],
};
const values = { anyOf: [literal, { type: 'array', items: literal }] };

/** Records of one kind: attributes with a meaning of their own, those required first; all others are qualified names. */
function records(required: readonly string[], known: Readonly<Record<string, object>>, keys = qualifiedName): object {
  return {
    type: 'object',
    propertyNames: keys,
    additionalProperties: {
      type: 'object',
      required,
      properties: known,
      propertyNames: qualifiedName,
      additionalProperties: values,
    },
  };
}

const relationKey = { type: 'string', pattern: '^(_:[\\w-]+|[A-Za-z_][\\w.-]*:[^\\s]+)$' };
const relation = (required: readonly string[], optional: Readonly<Record<string, object>> = {}): object =>
  records(
    required,
    { ...Object.fromEntries(required.map((attribute) => [attribute, qualifiedName])), ...optional },
    relationKey,
  );

export const provJsonSchema: SchemaObject = {
  type: 'object',
  additionalProperties: false,
  required: ['prefix'],
  properties: {
    prefix: {
      type: 'object',
      propertyNames: { pattern: '^[A-Za-z_][\\w.-]*$' },
      additionalProperties: { type: 'string', pattern: '^[A-Za-z][A-Za-z0-9+.-]*:' },
    },
    entity: records([], {}),
    activity: records([], { 'prov:startTime': dateTime, 'prov:endTime': dateTime }),
    agent: records([], {}),
    used: relation(['prov:activity'], { 'prov:entity': qualifiedName, 'prov:time': dateTime }),
    wasGeneratedBy: relation(['prov:entity'], { 'prov:activity': qualifiedName, 'prov:time': dateTime }),
    wasAssociatedWith: relation(['prov:activity'], { 'prov:agent': qualifiedName, 'prov:plan': qualifiedName }),
    wasDerivedFrom: relation(['prov:generatedEntity', 'prov:usedEntity'], {
      'prov:activity': qualifiedName,
      'prov:generation': qualifiedName,
      'prov:usage': qualifiedName,
    }),
  },
};
