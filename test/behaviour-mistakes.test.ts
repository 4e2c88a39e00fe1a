/** What the command says to honest mistakes: one message that names the place and the way out, and nothing begun that cannot end. */
import { afterEach, expect, test } from 'vitest';
import { type CommandProject, openProjectFolder } from './support/checkout.ts';

let project: CommandProject;
afterEach(() => project.remove());

const matrix = 'matrix: { k: [1, 2, 3] }';
const touch = "run: ['touch', '${{ out.x }}'], out: { x: x }";

test('a secret that is not set is told before anything starts, once for all tasks that need it', async () => {
  project = openProjectFolder({
    'pipelines/p.yaml': `stages:
  slow: { ${touch} }
  fetch: { ${matrix}, needs: [slow], secrets: PIPE_TEST_TOKEN, ${touch} }
  after: { in: { all: { all: fetch.x } }, ${touch} }
`,
  });
  const { stdout, code } = await project.pipe(['run']);
  expect(code).toBe(1);
  expect(stdout.match(/PIPE_TEST_TOKEN is not set/g)).toHaveLength(1);
  expect(stdout).toContain('3 failed, 2 not run');
  expect(stdout).toContain('failed: fetch (3 tasks)');
  expect(stdout).toContain('not run: after, slow');
  expect(stdout).toContain('-k goes on');
  const second = await project.pipe(['run', '-k']);
  expect(second.stdout).toMatch(/slow done in/);
  expect(second.stdout).toContain('1 run, 3 failed, 1 not run');
  expect(second.stdout).not.toContain('-k goes on');
  expect((await project.pipe(['run'], { PIPE_TEST_TOKEN: 'abc' })).code).toBe(0);
});

test('after a failure what was not run is named by its stage, and the failed command is shown', async () => {
  project = openProjectFolder({
    'pipelines/p.yaml': `params: { n: 7 }
stages:
  bad: { run: 'sh -c "exit 3" \${{ params.n }} \${{ out.x }}', out: { x: x } }
  after: { ${matrix}, needs: [bad], ${touch} }
`,
  });
  const { stdout, code } = await project.pipe(['run', '-j', '1']);
  expect(code).toBe(1);
  expect(stdout).toContain("$ sh -c 'exit 3' 7 ${{ out.x }}");
  expect(stdout).toContain('not run: after (3 tasks)');
  expect(stdout.trimEnd().split('\n')).toHaveLength(4);
});
