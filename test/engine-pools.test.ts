/** Admission: how many tasks are under way at a time, in which order, and what a task that only waits for the disk occupies. */
import { expect, test } from 'vitest';
import { openPools, type Vacate } from '../engine/pools.ts';

const total = { cpu: 8, gpu: 0, memory: 100 };
const needs = { cpu: 1, gpu: 0, memory: 10 };

/** Work that is under way until it is told to go on. @param following the priority of what waits for it. */
function openWork(following = Number.NEGATIVE_INFINITY) {
  const under: string[] = [];
  const steps = new Map<string, () => void>();
  const work = (name: string) => async (vacate: Vacate) => {
    under.push(name);
    await new Promise<void>((resolve) => steps.set(name, resolve));
    vacate(following);
    await new Promise<void>((resolve) => steps.set(name, resolve));
    return name;
  };
  /** Lets work go on by one step, and everything that follows from that happen. */
  const step = async (name: string) => {
    steps.get(name)!();
    for (let turn = 0; turn < 10; turn++) await Promise.resolve();
  };
  return { under, work, step };
}

test('work that has vacated makes room before it is over, and not twice', async () => {
  const pools = openPools(total, 1);
  const { under, work, step } = openWork();
  const over = ['a', 'b', 'c'].map((name) => pools.admit(needs, 0, work(name)));
  await Promise.resolve();
  expect(under).toEqual(['a']);
  await step('a');
  expect(under).toEqual(['a', 'b']);
  await step('a');
  expect(await over[0]).toBe('a');
  expect(under).toEqual(['a', 'b']);
  await step('b');
  expect(under).toEqual(['a', 'b', 'c']);
});

test('work gives its place to nothing that comes after what waits for it', async () => {
  const pools = openPools(total, 1);
  const { under, work, step } = openWork(2);
  void pools.admit(needs, 3, work('a'));
  void pools.admit(needs, 3, work('b'));
  void pools.admit({ ...needs, memory: 20 }, 1, work('c'));
  await step('a');
  expect(under).toEqual(['a', 'b']);
  await step('b');
  expect(under).toEqual(['a', 'b']);
  await step('b');
  expect(under).toEqual(['a', 'b', 'c']);
});

test('no more than twice the number of jobs wait for the disk without a place', async () => {
  const pools = openPools(total, 1);
  const { under, work, step } = openWork();
  for (const name of ['a', 'b', 'c', 'd', 'e']) void pools.admit(needs, 0, work(name));
  for (const name of ['a', 'b', 'c']) await step(name);
  expect(under).toEqual(['a', 'b', 'c']);
  await step('a');
  await step('c');
  expect(under).toEqual(['a', 'b', 'c', 'd']);
});

test('the highest priority that fits starts first, and what a failed task needed is free again', async () => {
  const pools = openPools(total, 4);
  const order: string[] = [];
  const failing = pools.admit({ ...needs, memory: 100 }, 0, () => Promise.reject(new Error('broken')));
  const later = [1, 3, 2].map((priority) =>
    pools.admit({ ...needs, memory: 60 }, priority, async () => {
      order.push(String(priority));
    }),
  );
  await expect(failing).rejects.toThrow('broken');
  await Promise.all(later);
  expect(order).toEqual(['3', '2', '1']);
});
