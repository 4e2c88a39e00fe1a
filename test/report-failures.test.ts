/** Failure modes: found where the numbers show one, with the numbers, and not found where they do not. */
import { describe, expect, it } from 'vitest';
import type { Table } from '../stages/compare/results.ts';
import { failureModes } from '../stages/shared/failures.ts';
import type { Findings } from '../stages/shared/findings.ts';
import type { Study } from '../stages/shared/study.ts';
import { impactFindings, rankFindings } from './support/findings.ts';

const studyOf = ({ subject, verdicts, tables, limits }: Findings): Study => ({
  subject,
  verdicts,
  tables,
  limits,
  comparison: null,
  rankRule: null,
});

/** The findings with numbers of some rows of a table changed. */
function changed(
  findings: Findings,
  name: string,
  change: (row: Readonly<Record<string, unknown>>) => Readonly<Record<string, number>>,
): Findings {
  const tables = findings.tables.map((table): Table => {
    if (table.name !== name) return table;
    const rows = table.rows.map((row) => {
      const named = Object.fromEntries(table.columns.map((column, i) => [column.name, row[i]]));
      const next = change(named);
      return table.columns.map((column, i) => next[column.name] ?? row[i] ?? null);
    });
    return { ...table, rows };
  });
  return { ...findings, tables };
}

const symptoms = (findings: Findings) => failureModes([studyOf(findings)]).map(({ symptom }) => symptom);

describe('failure modes', () => {
  it('are those that the tables show, each with its numbers', () => {
    const found = failureModes([studyOf(impactFindings)]);
    expect(found.map(({ symptom }) => symptom)).toEqual([
      'Updates of the same method look less alike than updates of two methods.',
      'LoRA and QLoRA differ by more than chance.',
      'Whether LoRA and QLoRA differ by more than chance cannot be told.',
      'A base does worse with the adapter that was trained on the other base.',
      'Rounding moves the weights further than training does.',
      'The two models choose different tokens, mostly where they were undecided.',
      'A training step takes longer on the 4-bit base.',
    ]);
    const evidence = found.map((one) => one.evidence);
    expect(evidence[0]).toContain('0.9610 between LoRA and QLoRA of one seed, 0.1510 between');
    expect(evidence[1]).toContain('KL: 2.5000 (1.9000 to 3.1000)');
    expect(evidence[2]).toContain('1 − token match: 0.7700 (0.4000 to 1.6000)');
    // The other swap's interval includes zero.
    expect(evidence[3]).toBe('nf4 with the adapter of LoRA: 0.0160 (0.0100 to 0.0200) nats per token more');
    expect(evidence[4]).toContain('2.3900 times');
    expect(evidence[5]).toContain('0.6100 of the tokens with the smallest margin, in 0.9900');
    expect(evidence[6]).toBe('rank 2: 1.1000 times as long');
    for (const one of found) expect(Object.values(one).every((text) => text.length > 0)).toBe(true);
  });

  it('are not those that the numbers speak against', () => {
    expect(symptoms(rankFindings)).toEqual([]);
    const flat = changed(rankFindings, 'rank_threshold', () => ({ token_match_low: 0.9, token_match_high: 0.97 }));
    expect(symptoms(flat)).toEqual(['A higher rank does not bring the two models closer.']);
    const alike = changed(impactFindings, 'ladder', () => ({ cosine: 1 }));
    expect(symptoms(alike)).not.toContain('Updates of the same method look less alike than updates of two methods.');
    const unstable = changed(impactFindings, 'ladder', ({ control }) =>
      control === 'repeat' ? { cosine: 0.999 } : {},
    );
    expect(symptoms(unstable)[0]).toBe('The same run gives another result when it is repeated.');
    const small = changed(impactFindings, 'quantization_error', () => ({ error_of_update: 0.4 }));
    expect(symptoms(small)).not.toContain('Rounding moves the weights further than training does.');
  });

  it('look only where the columns of the rule are', () => {
    const tables = impactFindings.tables.map((table) => ({ ...table, columns: table.columns.slice(1), rows: [] }));
    expect(symptoms({ ...impactFindings, tables })).toEqual([]);
  });
});
