/** Stage: compares two PEFT adapters of one base by what they do: B A with its scale, matrix by matrix and layer by layer. */
import { defineStage } from '../engine/stage.ts';
import { writeJson } from '../model/json.ts';
import { readPeft } from '../model/peft.ts';
import { compareAdapters } from './compare-adapters/comparison.ts';
import { adaptersTable, agreementTable, type PublishedLayer } from './compare-adapters/tables.ts';
import { refusingBadInput } from './shared/bad_input.ts';
import { writeTables } from './shared/tables_folder.ts';

export default defineStage({
  description: 'Compares two PEFT adapters by B A: cosine, L2, norms, spectrum and principal angles, layer by layer.',
  params: {
    published: {
      type: 'array',
      items: { type: 'object' },
      default: [],
      description:
        'Figures of the same pair published elsewhere, to be reproduced to four decimals: layer, cosine, l2 (of B A without its scale), relative_difference.',
    },
    source: { type: 'string', default: '', description: 'Where those figures are from.' },
  },
  inputs: {
    adapter: { description: 'PEFT folder.' },
    reference: { description: 'PEFT folder that it is set against.' },
  },
  outputs: {
    results: { path: 'results.json', description: 'Every measure of each matrix, family and layer; the tables.' },
    tables: { path: 'tables', description: 'The layers as CSV and Markdown; the published figures beside them.' },
  },
  async run({ params, inputs, outputs, log }) {
    const comparison = await refusingBadInput(() =>
      compareAdapters(readPeft(inputs.adapter).modules, readPeft(inputs.reference).modules, inputs),
    );
    const published = params.published as unknown as readonly PublishedLayer[];
    const tables = [
      adaptersTable(comparison),
      ...(published.length === 0 ? [] : [agreementTable(comparison, published, params.source)]),
    ];
    writeJson(outputs.results, { format: 2, subject: 'adapters', verdicts: [], tables, limits: [], ...comparison });
    writeTables(outputs.tables, tables);
    const { cosine, l2, relative } = comparison.whole;
    log(`all layers: cosine ${cosine?.toFixed(4)}, L2 ${l2.toFixed(4)}, relative difference ${relative?.toFixed(4)}`);
  },
});
