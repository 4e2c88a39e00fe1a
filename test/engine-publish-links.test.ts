/** How large files come into results/: shared blocks, hard links, copies; and what becomes of one that is written in place. */
import { execFileSync } from 'node:child_process';
import {
  chmodSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statfsSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { makeGraph, makeProject, makeTask, run, stageText, type TestProject } from './support/engine.ts';

const bytes = 48 << 20;
/** No two blocks of it are alike, so that no disk stores it in less room. */
const large = stageText(
  `    const words = new Uint32Array(${bytes} / 4);
    for (let i = 0; i < words.length; i++) words[i] = Math.imul(i + 1, 2654435761);
    writeFileSync(outputs.out, words);`,
);

const graphOf = ({ root }: TestProject) =>
  makeGraph(root, [makeTask(root, 'a', 'large')], [{ path: 'large.bin', task: 'a', artifact: 'out' }]);
const published = ({ root }: TestProject) => join(root, 'results/test/large.bin');

/** Publishes the file in a project, and gives its blob's path. */
async function publishLarge(project: TestProject): Promise<string> {
  const { outcome, events } = await run(graphOf(project));
  expect(outcome.status).toBe('done');
  const done = events.find((event) => event.type === 'task-done');
  const { digest } = done!.outputs.out!;
  return join(project.root, 'cache/cas', digest.slice(0, 2), digest);
}

test('a hard link that is written in place is noticed, and the file made again', async () => {
  const project = makeProject({ 'stages/large.ts': large });
  try {
    const blob = await publishLarge(project);
    const path = published(project);
    const good = readFileSync(blob);
    const isLink = statSync(path).ino === statSync(blob).ino;
    if (!isLink) return console.log('skipped: this disk shares blocks or has no hard links');
    chmodSync(path, 0o644);
    writeFileSync(path, 'written over', { flag: 'r+' });
    // The run that finds it publishes nothing wrong; the one after it makes the file again.
    const told = await run(graphOf(project));
    expect(told.events.filter(({ type }) => type === 'quarantined')).toHaveLength(1);
    const { executed } = await run(graphOf(project));
    expect(executed).toEqual(['a']);
    expect(readFileSync(path).equals(good)).toBe(true);
  } finally {
    project.remove();
  }
});

test('with `link: copy` what is written in results/ does not reach the store', async () => {
  const project = makeProject({ 'stages/large.ts': large, 'pipe.config.yaml': 'link: copy\n' });
  try {
    const blob = await publishLarge(project);
    const path = published(project);
    expect(statSync(path).ino).not.toBe(statSync(blob).ino);
    writeFileSync(path, 'written over', { flag: 'r+' });
    const { executed } = await run(graphOf(project));
    expect(executed).toEqual([]);
    expect(readFileSync(path).equals(readFileSync(blob))).toBe(true);
  } finally {
    project.remove();
  }
});

/** Makes a file system in a file and mounts it. @throws Error where that is not possible. */
function mountNew(kind: string): { folder: string; unmount: () => void } {
  const home = mkdtempSync(join(tmpdir(), 'pipe-disk-'));
  const [image, folder] = [join(home, 'image'), join(home, 'disk')];
  mkdirSync(folder);
  writeFileSync(image, '');
  truncateSync(image, 400 << 20);
  try {
    execFileSync(`mkfs.${kind}`, ['-q', image], { stdio: 'pipe' });
    execFileSync('mount', ['-o', 'loop', image, folder], { stdio: 'pipe' });
  } catch (thrown) {
    rmSync(home, { recursive: true });
    throw thrown;
  }
  const unmount = () => {
    execFileSync('umount', [folder]);
    rmSync(home, { recursive: true });
  };
  return { folder, unmount };
}

test.each(['btrfs', 'xfs'])(
  'on %s a published file shares its blocks with the store, and can be written',
  async (kind) => {
    let disk: ReturnType<typeof mountNew>;
    try {
      disk = mountNew(kind);
    } catch (thrown) {
      console.log(`skipped: no ${kind} can be mounted here: ${(thrown as Error).message.split('\n')[0]}`);
      return;
    }
    const free = () => {
      execFileSync('sync', ['-f', disk.folder]);
      const { bavail, bsize } = statfsSync(disk.folder);
      return bavail * bsize;
    };
    try {
      const before = free();
      const project = makeProject({ 'stages/large.ts': large }, disk.folder);
      const blob = await publishLarge(project);
      // One copy and not two; the bundle of the stage and the records take little.
      expect(before - free()).toBeLessThan(1.5 * bytes);
      expect(statSync(published(project)).ino).not.toBe(statSync(blob).ino);
      writeFileSync(published(project), 'written over', { flag: 'r+' });
      expect((await run(graphOf(project))).executed).toEqual([]);
      expect(readFileSync(published(project)).equals(readFileSync(blob))).toBe(true);
    } finally {
      disk.unmount();
    }
  },
);
