/** Results over an axis and seeds, complete: what is paired by seed stands at the same place. */
import { type Member, StageError } from '../../engine/stage.ts';
import { axesText, axisText, indexMembers } from '../compare/inputs.ts';

export interface SeedGrid<T> {
  /** Values of the axis, in the order in which they came. */
  readonly values: readonly string[];
  readonly seeds: readonly string[];
  /** The results of a value in the order of `seeds`. @throws StageError when there are none. */
  of(value: string): readonly T[];
}

/**
 * Reads a fan-in over one axis and seeds.
 * @param what the input's name, for errors. @throws StageError when a value lacks a seed that another has, or an axis is missing.
 */
export function readSeedGrid<T>(
  members: readonly Member[],
  axes: { readonly value: string; readonly seed: string },
  what: string,
  read: (path: string, whose: string) => T,
): SeedGrid<T> {
  const key = (value: string, seed: string) => JSON.stringify([value, seed]);
  const at = (member: Member, axis: string): string => {
    const value = member.axes[axis];
    if (value === undefined)
      throw new StageError(`a member of "${what}" (${axesText(member.axes)}) has no axis "${axis}"`);
    return axisText(value);
  };
  const index = indexMembers(members, (member) => key(at(member, axes.value), at(member, axes.seed)), what);
  const values = [...new Set(members.map((member) => at(member, axes.value)))];
  const seeds = [...new Set(members.map((member) => at(member, axes.seed)))];
  const rows = new Map(
    values.map((value) => [
      value,
      seeds.map((seed) => {
        const member = index.get(key(value, seed));
        if (member === undefined) {
          throw new StageError(
            `"${what}" has no ${axes.value} ${value} with ${axes.seed} ${seed}, though others have it: what is compared is paired by ${axes.seed}`,
          );
        }
        return read(member.path, axesText(member.axes));
      }),
    ]),
  );
  return {
    values,
    seeds,
    of(value) {
      const found = rows.get(value);
      if (found !== undefined) return found;
      throw new StageError(`"${what}" has nothing with ${axes.value} ${value}, only ${values.join(', ')}`);
    },
  };
}

/**
 * Reads a fan-in over a third axis too: a grid for each of its values.
 * @returns the grid of a value. @throws StageError as readSeedGrid, and for a value that there is not.
 */
export function readSeedGrids<T>(
  members: readonly Member[],
  axes: { readonly group: string; readonly value: string; readonly seed: string },
  what: string,
  read: (path: string, whose: string) => T,
): (group: string) => SeedGrid<T> {
  const groups = new Map<string, Member[]>();
  for (const member of members) {
    const value = member.axes[axes.group];
    if (value === undefined) {
      throw new StageError(`a member of "${what}" (${axesText(member.axes)}) has no axis "${axes.group}"`);
    }
    groups.set(axisText(value), [...(groups.get(axisText(value)) ?? []), member]);
  }
  const grids = new Map([...groups].map(([group, own]) => [group, readSeedGrid(own, axes, what, read)]));
  for (const [group, grid] of grids)
    requireSeeds(grid, [...grids.values()][0]!.seeds, `"${what}" with ${axes.group} ${group}`);
  return (group) => {
    const grid = grids.get(group);
    if (grid !== undefined) return grid;
    throw new StageError(`"${what}" has no ${axes.group} ${group}, only ${[...grids.keys()].join(', ')}`);
  };
}

/** @throws StageError when a grid's seeds are others, or in another order: what is compared is paired by their place. */
export function requireSeeds(grid: SeedGrid<unknown>, seeds: readonly string[], what: string): void {
  if (grid.seeds.length === seeds.length && grid.seeds.every((seed, i) => seed === seeds[i])) return;
  throw new StageError(
    `${what} has the seeds ${grid.seeds.join(', ')}, and others have ${seeds.join(', ')}: what is compared is paired by seed`,
  );
}
