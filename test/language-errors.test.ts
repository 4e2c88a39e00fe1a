/** Everything that can be wrong in a pipeline file, and the report that its writer reads. */
import fc from 'fast-check';
import { expect, it, test } from 'vitest';
import { PipelineError } from '../engine/diagnostics.ts';
import { load, reportOf } from './support/language.ts';

interface Case {
  readonly name: string;
  readonly text: string;
  readonly options?: Parameters<typeof reportOf>[1];
  readonly report: string;
}

const cases: readonly Case[] = [
  {
    name: 'unknown top-level key',
    text: `name: t
stage:
  a: { run: make }`,
    report: `p.yaml:2:1: unknown key "stage"
  2 | stage:
    | ^^^^^
    = did you mean "stages"?`,
  },
  {
    name: 'unknown key of a stage',
    text: `stages:
  a: { run: make, matirx: { x: [1] } }`,
    report: `p.yaml:2:19: unknown key "matirx"
  2 |   a: { run: make, matirx: { x: [1] } }
    |                   ^^^^^^
    = did you mean "matrix"?`,
  },
  {
    name: 'a file that is a list',
    text: `- a`,
    report: `p.yaml:1:1: must be a map, not a list
  1 | - a
    | ^^^`,
  },
  {
    name: 'an empty file',
    text: ``,
    report: `p.yaml:1:1: must be a map, not empty
  1 | 
    | ^`,
  },
  {
    name: 'broken YAML',
    text: `stages:
  a: { run: make`,
    report: `p.yaml:2:17: Flow map in block collection must be sufficiently indented and end with a }
  2 |   a: { run: make
    |                 ^`,
  },
  {
    name: 'a tab for indentation',
    text: `stages:
	a: { run: make }`,
    report: `p.yaml:2:1: Tabs are not allowed as indentation
  2 | 	a: { run: make }
    | ^
    = indent with spaces`,
  },
  {
    name: 'a duplicate key',
    text: `stages:
  a: { run: make }
  b: { run: make }
  a: { run: true }`,
    report: `p.yaml:4:3: duplicate key "a"
  4 |   a: { run: true }
    |   ^
    = it is first written on line 2`,
  },
  {
    name: 'a stage declared twice through an include',
    text: `include: b.yaml
stages: { a: { run: make } }`,
    options: { files: { 'b.yaml': 'stages:\n  a: { run: make }' } },
    report: `p.yaml:2:11: the stage "a" is already declared at b.yaml:2
  2 | stages: { a: { run: make } }
    |           ^
    = rename one of them`,
  },
  {
    name: 'files that include each other',
    text: `include: b.yaml
stages: { a: { run: make } }`,
    options: { files: { 'b.yaml': 'include: p.yaml\nstages: {}' } },
    report: `b.yaml:1:10: the file includes itself: p.yaml -> b.yaml -> p.yaml
  1 | include: p.yaml
    |          ^^^^^^`,
  },
  {
    name: 'an error in an included file',
    text: `include: b.yaml
stages: { a: { run: make } }`,
    options: { files: { 'b.yaml': 'stages:\n  b: { uses: trian }' } },
    report: `b.yaml:2:14: unknown stage module "trian"
  2 |   b: { uses: trian }
    |              ^^^^^
    = did you mean "train"?`,
  },
  {
    name: 'no stages',
    text: `name: t`,
    report: `t has no stages
  declare one under "stages:"`,
  },
  {
    name: 'neither uses nor run',
    text: `stages:
  a: { env: { X: 1 } }`,
    report: `p.yaml:2:3: the stage "a" does nothing
  2 |   a: { env: { X: 1 } }
    |   ^
    = give it "uses: MODULE" or "run: COMMAND"`,
  },
  {
    name: 'both uses and run',
    text: `stages:
  a: { uses: train, run: make }`,
    report: `p.yaml:2:21: the stage "a" has both "uses" and "run"
  2 |   a: { uses: train, run: make }
    |                     ^^^
    = keep one of them`,
  },
  {
    name: 'out of a stage module',
    text: `stages:
  d: { uses: download, with: { from: x } }
  t: { uses: train, in: { data: d.file }, out: { x: y } }`,
    report: `p.yaml:3:43: "out" does not go with "uses"
  3 |   t: { uses: train, in: { data: d.file }, out: { x: y } }
    |                                           ^^^
    = a stage module declares its own outputs; \`pipe stages NAME\` lists them`,
  },
  {
    name: 'with of a command',
    text: `stages:
  a: { run: make, with: { x: 1 } }`,
    report: `p.yaml:2:19: "with" does not go with "run"
  2 |   a: { run: make, with: { x: 1 } }
    |                   ^^^^
    = a command takes its parameters in its text, as expressions over params and matrix`,
  },
  {
    name: 'a wrong type',
    text: `stages:
  a:
    run: make
    retry: [1]
    env: x`,
    report: `p.yaml:4:5: must be a whole number or a string, not a list
  4 |     retry: [1]
    |     ^^^^^
    = for example: retry: 2

p.yaml:5:10: must be a map, not "x"
  5 |     env: x
    |          ^
    = for example: env: { OMP_NUM_THREADS: 2 }`,
  },
  {
    name: 'a name that is none',
    text: `stages:
  a b: { run: make }`,
    report: `p.yaml:2:3: "a b" cannot be a key here
  2 |   a b: { run: make }
    |   ^^^
    = a name is letters, digits, '_' and '-', beginning with a letter`,
  },
  {
    name: 'unknown stage module',
    text: `stages:
  a:
    uses: downlod`,
    report: `p.yaml:3:11: unknown stage module "downlod"
  3 |     uses: downlod
    |           ^^^^^^^
    = did you mean "download"?`,
  },
  {
    name: 'an unknown stage module or a wrong matrix, and what its inputs name',
    text: `stages:
  base: { run: make, out: { model: m } }
  a: { uses: downlod, in: { x: bsae.model, y: { all: [base.model, base.mdl] }, z: "\${{ matrix.n }}" } }
  b: { run: make, matrix: { n: "\${{ 3 }}" }, needs: bse, in: { x: base.model, y: { from: a.anything } } }`,
    report: `p.yaml:3:14: unknown stage module "downlod"
  3 |   a: { uses: downlod, in: { x: bsae.model, y: { all: [base.model, base.mdl] }, z: "\${{ matrix.n }}" } }
    |              ^^^^^^^
    = did you mean "download"?

p.yaml:3:32: unknown stage "bsae"
  3 |   a: { uses: downlod, in: { x: bsae.model, y: { all: [base.model, base.mdl] }, z: "\${{ matrix.n }}" } }
    |                                ^^^^^^^^^^
    = did you mean "base"?

p.yaml:3:67: base has no artifact "mdl"
  3 |   a: { uses: downlod, in: { x: bsae.model, y: { all: [base.model, base.mdl] }, z: "\${{ matrix.n }}" } }
    |                                                                   ^^^^^^^^
    = artifacts of base: model

p.yaml:4:32: the axis "n" must be a list, not a number
  4 |   b: { run: make, matrix: { n: "\${{ 3 }}" }, needs: bse, in: { x: base.model, y: { from: a.anything } } }
    |                                ^^^^^^^^^^
    = write [3]

p.yaml:4:53: unknown stage "bse"
  4 |   b: { run: make, matrix: { n: "\${{ 3 }}" }, needs: bse, in: { x: base.model, y: { from: a.anything } } }
    |                                                     ^^^
    = did you mean "base"?`,
  },
  {
    name: 'unknown stage, artifact, input and parameter at once',
    text: `stages:
  d: { uses: download, with: { from: x } }
  t:
    uses: train
    in: { dat: d.file, data: d.fil, base: download.file }
    with: { rnak: 4 }`,
    report: `p.yaml:5:11: train has no input "dat"
  5 |     in: { dat: d.file, data: d.fil, base: download.file }
    |           ^^^
    = did you mean "data"?

p.yaml:5:30: d has no artifact "fil"
  5 |     in: { dat: d.file, data: d.fil, base: download.file }
    |                              ^^^^^
    = did you mean "file"?

p.yaml:5:43: unknown stage "download"
  5 |     in: { dat: d.file, data: d.fil, base: download.file }
    |                                           ^^^^^^^^^^^^^
    = stages: d, t

p.yaml:6:13: train has no parameter "rnak"
  6 |     with: { rnak: 4 }
    |             ^^^^
    = did you mean "rank"?`,
  },
  {
    name: 'a stage where an artifact should be',
    text: `stages:
  d: { uses: download, with: { from: x } }
  t: { uses: train, in: { data: d } }`,
    report: `p.yaml:3:33: "d" is not an artifact
  3 |   t: { uses: train, in: { data: d } }
    |                                 ^
    = write d.file`,
  },
  {
    name: 'a missing input',
    text: `stages:
  t: { uses: train }`,
    report: `p.yaml:2:14: train needs the input "data": Records to train on.
  2 |   t: { uses: train }
    |              ^^^^^
    = add in: { data: STAGE.ARTIFACT }`,
  },
  {
    name: 'a missing parameter',
    text: `stages:
  d: { uses: download }`,
    report: `p.yaml:2:14: download needs the parameter "from"
  2 |   d: { uses: download }
    |              ^^^^^^^^
    = string: Where it comes from.`,
  },
  {
    name: 'parameters of wrong types',
    text: `stages:
  d: { uses: download, with: { from: x } }
  t:
    uses: train
    in: { data: d.file }
    with:
      rank: 2.5
      lr: 0
      targets: [q, w]
      precision: fp8
      dropout: yes`,
    report: `p.yaml:7:13: parameter "rank" of train: must be a whole number, not 2.5
  7 |       rank: 2.5
    |             ^^^
    = Rank of the adapter.

p.yaml:8:11: parameter "lr" of train: must be greater than 0, not 0
  8 |       lr: 0
    |           ^
    = Learning rate.

p.yaml:9:20: "targets.1" of train: must be one of q, k, v, o, not w
  9 |       targets: [q, w]
    |                    ^
    = Matrices.

p.yaml:10:18: parameter "precision" of train: must be one of bf16, nf4, not fp8
  10 |       precision: fp8
     |                  ^^^
     = Of the base.

p.yaml:11:16: parameter "dropout" of train: must be true or false, not "yes"
  11 |       dropout: yes
     |                ^^^
     = Whether to drop.`,
  },
  {
    name: 'a parameter whose expression gives the wrong type',
    text: `params: { rank: eight }
stages:
  d: { uses: download, with: { from: x } }
  t:
    uses: train
    in: { data: d.file }
    with: { rank: "\${{ params.rank }}" }`,
    report: `p.yaml:7:19: parameter "rank" of train: must be a whole number, not "eight"
  7 |     with: { rank: "\${{ params.rank }}" }
    |                   ^^^^^^^^^^^^^^^^^^^^
    = Rank of the adapter.`,
  },
  {
    name: 'unknown profile',
    text: `profiles: { tiny: {} }
stages: { a: { run: make } }`,
    options: { profile: 'tinny' },
    report: `--profile: unknown profile "tinny"
  --profile tinny
            ^^^^^
  = did you mean "tiny"?`,
  },
  {
    name: 'unknown param in a profile',
    text: `params: { steps: 1 }
profiles: { tiny: { step: 2 } }
stages: { a: { run: make } }`,
    report: `p.yaml:2:21: unknown param "step"
  2 | profiles: { tiny: { step: 2 } }
    |                     ^^^^
    = did you mean "steps"?`,
  },
  {
    name: 'unknown param and a bad value on the command line',
    text: `params: { steps: 1 }
stages: { a: { run: make } }`,
    options: { params: ['stepz=1', 'steps', 'steps=[1, 2'] },
    report: `--param: needs NAME=VALUE
  --param steps
          ^^^^^
  = for example: --param steps=20

--param: Flow sequence must end with a ]
  --param steps=[1, 2
                     ^

--param: unknown param "stepz"
  --param stepz=1
          ^^^^^
  = did you mean "steps"?`,
  },
  {
    name: 'unknown stage and parameter in --set',
    text: `stages:
  d: { uses: download, with: { from: x } }
  c: { run: make }`,
    options: { sets: ['e.from=1', 'd.form=y', 'c.x=1', 'd=1'] },
    report: `--set: unknown stage "e"
  --set e.from=1
        ^^^^^^
  = stages: d, c

--set: c is a command: it has no parameters
  --set c.x=1
        ^^^
  = for example: --set train.rank=8

--set: needs STAGE.PARAMETER=VALUE
  --set d=1
        ^
  = for example: --set train.rank=8

--set: download has no parameter "form"
  --set d.form=y
        ^^^^^^
  = did you mean "from"?`,
  },
  {
    name: 'a set value of the wrong type',
    text: `stages:
  d: { uses: download, with: { from: x } }`,
    options: { sets: ['d.from=5'] },
    report: `--set: parameter "from" of download: must be a string, not 5
  --set d.from=5
        ^^^^^^
  = Where it comes from.`,
  },
  {
    name: 'a params circle',
    text: `params: { a: "\${{ params.b }}", b: "\${{ params.a }}" }
stages: { s: { run: make } }`,
    report: `p.yaml:1:11: the param depends on itself: a -> b -> a
  1 | params: { a: "\${{ params.b }}", b: "\${{ params.a }}" }
    |           ^`,
  },
  {
    name: 'a cycle',
    text: `stages:
  a: { run: make, out: { o: o }, in: { i: c.o } }
  b: { run: make, out: { o: o }, in: { i: a.o } }
  c: { run: make, out: { o: o }, in: { i: b.o } }`,
    report: `p.yaml:2:3: the stages depend on each other in a circle: a -> c -> b -> a
  2 |   a: { run: make, out: { o: o }, in: { i: c.o } }
    |   ^
    = each needs the next; remove one of these inputs`,
  },
  {
    name: 'a stage that needs itself',
    text: `stages:
  a: { run: make, needs: a }`,
    report: `p.yaml:2:3: the stages depend on each other in a circle: a -> a
  2 |   a: { run: make, needs: a }
    |   ^
    = each needs the next; remove one of these inputs`,
  },
  {
    name: 'an axis that does not join',
    text: `stages:
  q: { run: make, out: { m: m }, matrix: { precision: [bf16, nf4] } }
  t: { run: make, in: { m: q.m }, matrix: { precision: [bf16, int8] } }`,
    report: `p.yaml:3:28: the axis "precision" does not join: t[precision=int8] needs q with precision=int8, which there is not
  3 |   t: { run: make, in: { m: q.m }, matrix: { precision: [bf16, int8] } }
    |                            ^^^
    = precision of q: bf16, nf4`,
  },
  {
    name: 'axes that join one by one but not together',
    text: `stages:
  q: { run: make, out: { m: m }, matrix: { a: [1, 2], b: [1, 2], exclude: [{ a: 1, b: 2 }] } }
  t: { run: make, in: { m: q.m }, matrix: { a: [1], b: [2] } }`,
    report: `p.yaml:3:28: the axes a, b do not join: t[a=1,b=2] needs q with a=1, b=2, which there is not
  3 |   t: { run: make, in: { m: q.m }, matrix: { a: [1], b: [2] } }
    |                            ^^^
    = the matrix of q has each of these values, but not together`,
  },
  {
    name: 'an axis that the consumer lacks',
    text: `stages:
  q: { run: make, out: { m: m }, matrix: { seed: [1, 2] } }
  t: { run: make, in: { m: q.m } }`,
    report: `p.yaml:3:28: q has the axis "seed", which t lacks
  3 |   t: { run: make, in: { m: q.m } }
    |                            ^^^
    = for the list over "seed" write { all: q.m }; for one value, { from: q.m, where: { seed: VALUE } }`,
  },
  {
    name: 'a list for one, and one for a list',
    text: `stages:
  d: { uses: download, with: { from: x } }
  t: { uses: train, in: { data: { all: d.file } } }
  c: { uses: compare, in: { evals: t.model } }`,
    report: `p.yaml:3:40: the input "data" takes one artifact, not a list
  3 |   t: { uses: train, in: { data: { all: d.file } } }
    |                                        ^^^^^^
    = write d.file

p.yaml:4:36: the input "evals" takes a list
  4 |   c: { uses: compare, in: { evals: t.model } }
    |                                    ^^^^^^^
    = write { all: t.model }`,
  },
  {
    name: 'an unknown axis in where',
    text: `stages:
  q: { run: make, out: { m: m }, matrix: { seed: [1, 2] } }
  t: { run: make, in: { m: { from: q.m, where: { sed: 1 } } } }`,
    report: `p.yaml:3:50: q has no axis "sed"
  3 |   t: { run: make, in: { m: { from: q.m, where: { sed: 1 } } } }
    |                                                  ^^^
    = did you mean "seed"?`,
  },
  {
    name: 'an input that is ambiguous',
    text: `stages:
  q: { run: make, out: { m: m }, matrix: { a: [1], include: [{ a: 2 }, { a: 2, b: 1 }] } }
  t: { run: make, in: { m: q.m }, matrix: { a: [2], b: [1] } }`,
    report: `p.yaml:3:28: t[a=2,b=1] could be joined to q[a=2] or q[a=2,b=1]
  3 |   t: { run: make, in: { m: q.m }, matrix: { a: [2], b: [1] } }
    |                            ^^^
    = tell them apart by an axis that both stages have, or by { from, where }`,
  },
  {
    name: 'an input of no known form',
    text: `stages:
  t: { run: make, in: { m: { where: { a: 1 } }, n: { al: q.m } } }`,
    report: `p.yaml:2:28: the input "m" must have one of "from", "all" and "file"
  2 |   t: { run: make, in: { m: { where: { a: 1 } }, n: { al: q.m } } }
    |                            ^^^^^^^^^^^^^^^^^^^
    = write STAGE.ARTIFACT, { all: STAGE.ARTIFACT }, { from: STAGE.ARTIFACT, where: { AXIS: VALUE } } or { file: PATH }

p.yaml:2:52: the input "n" must have one of "from", "all" and "file"
  2 |   t: { run: make, in: { m: { where: { a: 1 } }, n: { al: q.m } } }
    |                                                    ^^^^^^^^^^^
    = write STAGE.ARTIFACT, { all: STAGE.ARTIFACT }, { from: STAGE.ARTIFACT, where: { AXIS: VALUE } } or { file: PATH }

p.yaml:2:54: unknown key "al"
  2 |   t: { run: make, in: { m: { where: { a: 1 } }, n: { al: q.m } } }
    |                                                      ^^
    = did you mean "all"?`,
  },
  {
    name: 'a duplicate task',
    text: `stages:
  a: { run: make, matrix: { seed: [1, "1"] } }`,
    report: `p.yaml:2:27: duplicate task a[seed=1]
  2 |   a: { run: make, matrix: { seed: [1, "1"] } }
    |                           ^^^^^^^^^^^^^^^^^^
    = two combinations of the matrix have the same values; remove one, or tell them apart by an axis`,
  },
  {
    name: 'matrices that are wrong',
    text: `params: { one: 1 }
stages:
  a: { run: make, matrix: { seed: "\${{ params.one }}" } }
  b: { run: make, matrix: { seed: [] } }
  c: { run: make, matrix: { seed: [1], exclude: [{ sed: 1 }] } }
  d: { run: make, matrix: { seed: [1], exclude: [{ seed: 1 }] } }
  e: { run: make, matrix: { seed: [1], include: [2] } }`,
    report: `p.yaml:3:35: the axis "seed" must be a list, not a number
  3 |   a: { run: make, matrix: { seed: "\${{ params.one }}" } }
    |                                   ^^^^^^^^^^^^^^^^^^^
    = write [1]

p.yaml:4:29: must not be empty
  4 |   b: { run: make, matrix: { seed: [] } }
    |                             ^^^^
    = for example: seed: [2, 4, 8]

p.yaml:5:52: exclude names an unknown axis "sed"
  5 |   c: { run: make, matrix: { seed: [1], exclude: [{ sed: 1 }] } }
    |                                                    ^^^
    = did you mean "seed"?

p.yaml:6:27: the matrix gives no task
  6 |   d: { run: make, matrix: { seed: [1], exclude: [{ seed: 1 }] } }
    |                           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^
    = its excludes remove every combination

p.yaml:7:49: include must be a list of maps
  7 |   e: { run: make, matrix: { seed: [1], include: [2] } }
    |                                                 ^^^
    = for example: include: [{ rank: 8, seed: 3 }]`,
  },
  {
    name: 'a matrix beyond all bounds',
    text: `stages:
  a: { run: make, matrix: { a: &n [1,2,3,4,5,6,7,8,9,10], b: *n, c: *n, d: *n, e: *n, f: *n } }`,
    report: `p.yaml:2:27: the matrix gives 1000000 tasks; at most 100000 are allowed
  2 |   a: { run: make, matrix: { a: &n [1,2,3,4,5,6,7,8,9,10], b: *n, c: *n, d: *n, e: *n, f: *n } }
    |                           ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^`,
  },
  {
    name: 'paths that escape',
    text: `stages:
  a: { run: make, out: { x: ../x, y: /y, z: . }, in: { f: { file: ../../etc/passwd } } }`,
    report: `p.yaml:2:29: the output "x" must stay inside the task's folder: ../x leads out of its folder
  2 |   a: { run: make, out: { x: ../x, y: /y, z: . }, in: { f: { file: ../../etc/passwd } } }
    |                             ^^^^
    = write a relative path, such as table.csv

p.yaml:2:38: the output "y" must stay inside the task's folder: /y is absolute
  2 |   a: { run: make, out: { x: ../x, y: /y, z: . }, in: { f: { file: ../../etc/passwd } } }
    |                                      ^^
    = write a relative path, such as table.csv

p.yaml:2:45: the output "z" must stay inside the task's folder: . is the folder itself
  2 |   a: { run: make, out: { x: ../x, y: /y, z: . }, in: { f: { file: ../../etc/passwd } } }
    |                                             ^
    = write a relative path, such as table.csv

p.yaml:2:67: the file must lie inside the project: ../../etc/passwd leads out of its folder
  2 |   a: { run: make, out: { x: ../x, y: /y, z: . }, in: { f: { file: ../../etc/passwd } } }
    |                                                                   ^^^^^^^^^^^^^^^^
    = write a path relative to the project's root`,
  },
  {
    name: 'publication that escapes or collides',
    text: `stages:
  a: { run: make, out: { o: o } }
  b: { run: make, out: { o: o }, matrix: { seed: [1, 2] } }
publish:
  ../up: a.o
  x: a.o
  x/y: a.o
  each: b.o
  none: a.p`,
    report: `p.yaml:5:3: a published path must stay inside results/: ../up leads out of its folder
  5 |   ../up: a.o
    |   ^^^^^
    = write a relative path, such as tables/summary.csv

p.yaml:7:3: x/y lies inside x, which is published too
  7 |   x/y: a.o
    |   ^^^
    = give each its own folder

p.yaml:8:3: 2 tasks of b would be published under one path
  8 |   each: b.o
    |   ^^^^
    = tell them apart in the path: \${{ matrix.seed }}

p.yaml:9:9: a has no artifact "p"
  9 |   none: a.p
    |         ^^^
    = artifacts of a: o`,
  },
  {
    name: 'an error inside an expression',
    text: `params: { seeds: [1] }
stages:
  a:
    run: make
    matrix: { seed: '\${{ params.seedz }}' }
    env: { A: "x \${{ matrix.sed }} y", B: "\${{ 1 + }}" }`,
    report: `p.yaml:5:26: params has no "seedz"
  5 |     matrix: { seed: '\${{ params.seedz }}' }
    |                          ^^^^^^^^^^^^
    = did you mean "seeds"?

p.yaml:6:52: the expression ends where a value should be
  6 |     env: { A: "x \${{ matrix.sed }} y", B: "\${{ 1 + }}" }
    |                                                    ^^`,
  },
  {
    name: 'an error inside an expression of a block',
    text: `stages:
  a:
    shell: true
    run: |
      echo one
      echo \${{ matrix.rank }} \${{ joi([1]) }}`,
    report: `p.yaml:6:16: matrix has no "rank"
  6 |       echo \${{ matrix.rank }} \${{ joi([1]) }}
    |                ^^^^^^^^^^^
    = nothing is declared under "matrix"`,
  },
  {
    name: 'a matrix where there is none',
    text: `stages:
  a: { run: make, env: { A: "\${{ matrix.rank }}" } }`,
    report: `p.yaml:2:34: matrix has no "rank"
  2 |   a: { run: make, env: { A: "\${{ matrix.rank }}" } }
    |                                  ^^^^^^^^^^^
    = nothing is declared under "matrix"`,
  },
  {
    name: 'matrix in an axis',
    text: `stages:
  a: { run: make, matrix: { a: ["\${{ matrix.b }}"] } }`,
    report: `p.yaml:2:38: unknown name "matrix"
  2 |   a: { run: make, matrix: { a: ["\${{ matrix.b }}"] } }
    |                                      ^^^^^^
    = names known here: params`,
  },
  {
    name: 'a list inside text',
    text: `params: { l: [1, 2] }
stages:
  a: { run: "echo \${{ params.l }}" }`,
    report: `p.yaml:3:23: a list cannot stand inside a string; use join(x, ',') or toJSON(x)
  3 |   a: { run: "echo \${{ params.l }}" }
    |                       ^^^^^^^^`,
  },
  {
    name: 'an unclosed expression',
    text: `stages:
  a: { run: "echo \${{ 1 " }`,
    report: `p.yaml:2:24: the expression is not closed
  2 |   a: { run: "echo \${{ 1 " }
    |                        ^
    = close it with }}`,
  },
  {
    name: 'an unknown name after in',
    text: `stages:
  a: { run: "cat \${{ in.dat }}", in: { data: { file: x } } }`,
    report: `p.yaml:2:22: in has no "dat"
  2 |   a: { run: "cat \${{ in.dat }}", in: { data: { file: x } } }
    |                      ^^^^^^
    = did you mean "data"?`,
  },
  {
    name: 'a command that needs a shell',
    text: `stages:
  a: { run: "cat x | wc" }
  b: { run: "echo 'x" }
  c: { run: " " }`,
    report: `p.yaml:2:13: the command holds |, which needs a shell
  2 |   a: { run: "cat x | wc" }
    |             ^^^^^^^^^^^^
    = quote it, or add "shell: true"

p.yaml:3:13: a quote in the command is not closed
  3 |   b: { run: "echo 'x" }
    |             ^^^^^^^^^
    = close it with '

p.yaml:4:13: the command is empty
  4 |   c: { run: " " }
    |             ^^^
    = write the program and its arguments`,
  },
  {
    name: 'quantities that are none',
    text: `stages:
  a: { run: make, timeout: 10 minutes, retry: -1, resources: { cpu: 0, memory: 2 apples } }`,
    report: `p.yaml:2:28: "10 minutes" is not a time
  2 |   a: { run: make, timeout: 10 minutes, retry: -1, resources: { cpu: 0, memory: 2 apples } }
    |                            ^^^^^^^^^^
    = write 30s, 10m, 1h30m or a number of seconds

p.yaml:2:47: must be at least 0, not -1
  2 |   a: { run: make, timeout: 10 minutes, retry: -1, resources: { cpu: 0, memory: 2 apples } }
    |                                               ^^
    = for example: retry: 2

p.yaml:2:69: must be at least 1, not 0
  2 |   a: { run: make, timeout: 10 minutes, retry: -1, resources: { cpu: 0, memory: 2 apples } }
    |                                                                     ^
    = for example: cpu: 2

p.yaml:2:80: "2 apples" is not a size
  2 |   a: { run: make, timeout: 10 minutes, retry: -1, resources: { cpu: 0, memory: 2 apples } }
    |                                                                                ^^^^^^^^
    = write 512MB, 2GB, 1.5GiB or a number of bytes`,
  },
];

test.each(cases)('$name', async ({ text, options, report }) => {
  expect(await reportOf(text, options)).toBe(report);
});

it('counts findings past the twentieth', async () => {
  const stages = Array.from({ length: 30 }, (_, at) => `  s${at}: { uses: nothing }`).join('\n');
  const report = await reportOf(`stages:\n${stages}`);
  expect(report.match(/unknown stage module/g)).toHaveLength(20);
  expect(report.endsWith('\n\nand 10 more')).toBe(true);
});

it('refuses a file that is not UTF-8, one that is missing and one that grows without bound by its aliases', async () => {
  expect(await reportOf(new Uint8Array([0x61, 0xff, 0xfe]))).toBe('cannot read p.yaml: it is not UTF-8 text');
  expect(await reportOf('include: none.yaml')).toContain('p.yaml:1:10: cannot read none.yaml: there is no such file');
  const laughs = Array.from(
    { length: 9 },
    (_, at) =>
      `  p${at}: &a${at} [${Array(9)
        .fill(at === 0 ? 'x' : `*a${at - 1}`)
        .join(', ')}]`,
  );
  expect(await reportOf(`params:\n${laughs.join('\n')}\nstages: { s: { run: make } }`)).toContain(
    'more than 100000 values once its aliases are written out',
  );
  expect(await reportOf('params: { a: &a [*a] }')).toContain('the alias *a stands inside the value that it names');
  expect(await reportOf(`params: ${'['.repeat(500)}${']'.repeat(500)}`)).toContain('nested more than 100 levels deep');
});

it('says nothing but a PipelineError to any text', async () => {
  const words = fc.constantFrom(
    ...[
      'stages',
      'params',
      'uses',
      'run',
      'in',
      'with',
      'matrix',
      'include',
      'publish',
      'a',
      'a.b',
      'train',
      'download',
    ],
    ...[
      ': ',
      ':\n',
      '\n  ',
      '\n    ',
      '{',
      '}',
      '[',
      ']',
      ', ',
      '- ',
      '&x ',
      '*x',
      '${{ ',
      ' }}',
      'params.a',
      '"',
      "'",
      '|\n',
      '1',
      '#',
      '!!str ',
      '? ',
    ],
  );
  const text = fc.oneof(
    fc.array(words, { maxLength: 40 }).map((parts) => parts.join('')),
    fc.string({ unit: 'binary' }),
  );
  await fc.assert(
    fc.asyncProperty(text, async (random) => {
      try {
        await load(random);
      } catch (error) {
        expect(error).toBeInstanceOf(PipelineError);
        expect((error as PipelineError).message).not.toBe('');
      }
    }),
    { numRuns: 400 },
  );
});
