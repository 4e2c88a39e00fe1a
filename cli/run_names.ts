/** Finds a run by what a person calls it. */
import { UsageError } from '../engine/errors.ts';
import { type RunRecord, readRun, runIds } from '../engine/runs.ts';
import { suggest } from '../engine/suggest.ts';

/**
 * @param name an id, the beginning of one, `latest`, or `previous`
 * @throws UsageError when it names no run, or several
 */
export function findRun(cache: string, name: string): RunRecord {
  const ids = runIds(cache);
  if (ids.length === 0) throw new UsageError('there are no runs yet\n  begin with `pipe run`');
  const position = { latest: 0, previous: 1 }[name];
  if (position !== undefined && ids[position] === undefined) throw new UsageError('there is only one run yet');
  const matching = position === undefined ? ids.filter((id) => id.startsWith(name)) : [ids[position]!];
  if (matching.length > 1)
    throw new UsageError(`${name} is the beginning of several runs\n  ${matching.slice(0, 5).join(', ')}`);
  const run = matching[0] === undefined ? null : readRun(cache, matching[0]);
  if (run === null) throw new UsageError(`there is no run ${name}\n  ${suggest(name, ids, 'runs')}`);
  return run;
}
