/** Lineage for other tools: each format against its published schema or profile, and against the records it came from. */
import { createHash } from 'node:crypto';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { createServer, type IncomingHttpHeaders, type Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Ajv } from 'ajv';
import { Ajv2020 } from 'ajv/dist/2020.js';
import { afterAll, beforeAll, expect, onTestFinished, test } from 'vitest';
import type { LineageGraph, LineageTask } from '../engine/lineage.ts';
import type { RunEvent } from '../engine/open_lineage.ts';
import type { ProvDocument } from '../engine/prov.ts';
import { type Ended, runPipe, speaker } from './support/pipe_command.ts';
import { provJsonSchema } from './support/prov_json.ts';
import { noValidators, validate } from './support/validators.ts';

let root = '';
let lineage: LineageGraph;
const tasksOf = ({ nodes }: LineageGraph) => nodes.filter((node): node is LineageTask => node.kind === 'task');
const pipe = (...args: readonly string[]): Promise<Ended> => runPipe(root, args);
const place = (name: string) => join(root, name);

beforeAll(async () => {
  root = mkdtempSync(join(tmpdir(), 'pipe-lineage-'));
  const files = {
    'package.json': '{"name": "talking", "license": "MIT"}',
    'stages/say.ts': speaker,
    'stages/take.ts': taker,
    'note.txt': 'a note\n',
    'pipelines/words.yaml': words,
    'pipelines/talk.yaml': talk,
  };
  for (const [path, content] of Object.entries(files)) {
    mkdirSync(join(root, path, '..'), { recursive: true });
    writeFileSync(join(root, path), content);
  }
  expect((await pipe('run', 'talk')).code).toBe(0);
  lineage = JSON.parse((await pipe('lineage', 'results/talk/all', '--json')).out);
  expect(tasksOf(lineage).map(({ task }) => task)).toEqual(['pack', 'take', 'say[word=a]', 'say[word=b]']);
});

afterAll(() => rmSync(root, { recursive: true, force: true }));

test('PROV-JSON has the shape of the submission, and a relation for every edge', async () => {
  const { out } = await pipe('lineage', 'results/talk/all', '--format', 'prov');
  const document: ProvDocument = JSON.parse(out);
  const check = new Ajv({ allErrors: true, allowUnionTypes: true }).compile(provJsonSchema);
  expect([check(document), check.errors]).toEqual([true, null]);

  for (const task of tasksOf(lineage)) {
    expect(document.activity[`key:${task.id}`]).toMatchObject({
      'prov:label': task.task,
      'prov:startTime': task.startedAt,
      'pipe:params': JSON.stringify(task.params),
    });
    for (const { digest } of Object.values(task.outputs)) {
      expect(Object.values(document.wasGeneratedBy)).toContainEqual(
        expect.objectContaining({ 'prov:entity': `sha256:${digest}`, 'prov:activity': `key:${task.id}` }),
      );
    }
  }
  for (const { to, digest, input } of lineage.edges) {
    expect(Object.values(document.used)).toContainEqual({
      'prov:activity': `key:${to}`,
      'prov:entity': `sha256:${digest}`,
      'prov:role': input,
    });
  }
  // Nothing is spoken of that is not there.
  const named = Object.values(document.used).map((attributes) => attributes['prov:entity'] as string);
  for (const entity of named) expect(document.entity).toHaveProperty([entity]);
});

test.skipIf(noValidators !== null)(`PROV-JSON is read by the package prov${because()}`, async () => {
  await pipe('lineage', 'results/talk/all', '--format', 'prov', '--out', 'prov.json');
  expect(validate('prov_json', place('prov.json'))).toMatchObject({ ProvActivity: 4, ProvUsage: lineage.edges.length });
});

test('OpenLineage events keep the published schema, and so does each facet that they carry', async () => {
  await pipe('lineage', 'results/talk/all', '--format', 'openlineage', '--out', 'events.ndjson');
  const events = eventsOf(readFileSync(place('events.ndjson'), 'utf8'));
  const check = eventChecker();
  for (const event of events) check(event);

  // A START and a COMPLETE for the run and for each of its executions, in the order of time.
  expect(events).toHaveLength(2 * (1 + tasksOf(lineage).length));
  const told = new Map<string, string[]>();
  for (const { run, eventType } of events) told.set(run.runId, [...(told.get(run.runId) ?? []), eventType]);
  for (const types of told.values()) expect(types).toEqual(['START', 'COMPLETE']);
  expect(events.map(({ eventTime }) => eventTime)).toEqual(events.map(({ eventTime }) => eventTime).sort());
  const parent = events[0]!;
  expect([parent.job.name, events.at(-1)!.run.runId]).toEqual(['talk', parent.run.runId]);

  const pack = events.find(({ job }) => job.name === 'pack')!;
  expect(pack.run.facets.parent).toMatchObject({ run: { runId: parent.run.runId }, job: { name: 'talk' } });
  expect(pack.inputs.map(({ namespace, name }) => [namespace, name])).toEqual([['talking', 'take/text']]);
  const take = tasksOf(lineage).find(({ task }) => task === 'take')!;
  expect(pack.inputs[0]!.facets.version).toMatchObject({ datasetVersion: take.outputs.text!.digest });
  // A dataset is called the same where it is made and where it is read: that is what joins the events.
  const made = new Set(events.flatMap(({ outputs }) => outputs.map(({ name }) => name)));
  const read = new Set(events.flatMap(({ inputs }) => inputs.map(({ name }) => name)));
  expect([...read].filter((name) => !made.has(name))).toEqual(['note.txt']);
});

test('the same execution has the same run id whenever it is told', async () => {
  const told = async () =>
    eventsOf((await pipe('lineage', 'take', '--format', 'openlineage')).out).map(({ run }) => run.runId);
  expect(await told()).toEqual(await told());
});

test('OpenLineage events go to an HTTP endpoint one by one, with the token of the environment', async () => {
  const heard: { headers: IncomingHttpHeaders; event: RunEvent }[] = [];
  const address = await serve((headers, body) => {
    heard.push({ headers, event: JSON.parse(body) });
    return 201;
  });
  const { code, out } = await runPipe(
    root,
    ['lineage', 'results/talk/all', '--format', 'openlineage', '--out', `${address}/api/v1/lineage`],
    { env: { OPENLINEAGE_API_KEY: 'a-key' } },
  );
  expect([code, out]).toEqual([0, '10 events sent\n']);
  const check = eventChecker();
  for (const { event, headers } of heard) {
    check(event);
    expect(headers.authorization).toBe('Bearer a-key');
  }
  expect(heard).toHaveLength(10);
});

test('a server that refuses an event, or is not there, is named with what it took', async () => {
  let count = 0;
  const address = await serve(() => (++count > 3 ? 500 : 200));
  const refused = await pipe('lineage', 'take', '--format', 'openlineage', '--out', `${address}/events`);
  expect([refused.code, refused.err]).toEqual([
    2,
    expect.stringMatching(/^http:\/\/127\.0\.0\.1:\d+\/events took 3 of 8 events, then answered 500/),
  ]);
  const closed = `${await unusedAddress()}/events`;
  const gone = await pipe('lineage', 'take', '--format', 'openlineage', '--out', closed);
  expect([gone.code, gone.err]).toEqual([2, `${closed} took 0 of 8 events, then ECONNREFUSED\n`]);
});

test('an RO-Crate holds the pipeline, every artifact and every source, each as its digest says', async () => {
  const { code, out } = await pipe('lineage', 'results/talk/all', '--format', 'ro-crate', '--out', 'crate');
  expect([code, out]).toEqual([0, 'crate/ro-crate-metadata.json, with 7 artifact, source and pipeline files\n']);
  const entities = crateEntities('crate');
  const files = entities.filter((entity) => [entity['@type']].flat().includes('File'));
  for (const file of files) {
    const path = place(join('crate', decodeURIComponent(file['@id'])));
    expect(statSync(path).isFile()).toBe(true);
    if (typeof file.sha256 === 'string') expect(sha256(readFileSync(path))).toBe(file.sha256);
  }
  expect(files.map((file) => file.name)).toEqual(
    expect.arrayContaining(['text of take', 'said of say[word=a]', 'said of say[word=b]', 'note.txt', 'talk']),
  );
  const names = readdirSync(place('crate'), { recursive: true, encoding: 'utf8' });
  expect(names).toEqual(expect.arrayContaining(['pipelines/talk.yaml', 'pipelines/words.yaml', 'sources']));
  // One action for each execution, which says from what it made what.
  const actions = new Map(entities.flatMap((e) => (e['@type'] === 'CreateAction' ? [[e.name, e]] : [])));
  expect([...actions.keys()].sort()).toEqual(['pack', 'run of talk', 'say[word=a]', 'say[word=b]', 'take']);
  const folder = entities.find(({ name }) => name === 'all of pack')!;
  expect(folder['@type']).toBe('Dataset');
  expect(actions.get('pack')).toMatchObject({ result: { '@id': folder['@id'] } });
});

test.skipIf(noValidators !== null)(`an RO-Crate keeps the profile Provenance Run Crate${because()}`, async () => {
  await pipe('lineage', 'results/talk/all', '--format', 'ro-crate', '--out', 'checked');
  const { checked, issues } = validate('ro_crate', place('checked'), 'provenance-run-crate') as {
    checked: number;
    issues: readonly { severity: string; check: string; message: string }[];
  };
  expect(checked).toBeGreaterThan(100);
  expect(issues.filter(({ severity }) => severity === 'REQUIRED')).toEqual([]);
  // What is recommended and cannot be known: who ran it, where the software is published, which version a command has.
  const unknowable =
    /an agent that is a Person|representing the `author`|`publisher` property|SHOULD have a url|id SHOULD be an absolute URI|SHOULD have a version|README\.md SHOULD|Bioschemas ComputationalWorkflow profile/;
  expect(issues.map(({ message }) => message).filter((message) => !unknowable.test(message))).toEqual([]);
});

test('a crate is not written over what is there, nor with a source that has changed since', async () => {
  expect((await pipe('lineage', 'take', '--format', 'ro-crate', '--out', 'stages')).err).toMatch(
    /stages is not empty\n {2}name a new folder/,
  );
  expect((await pipe('lineage', 'take', '--format', 'ro-crate')).err).toMatch(/an RO-Crate is a folder/);
  writeFileSync(place('note.txt'), 'another note\n');
  const { code, err } = await pipe('lineage', 'take', '--format', 'ro-crate', '--out', 'late');
  writeFileSync(place('note.txt'), 'a note\n');
  expect([code, err]).toEqual([2, 'note.txt is not what was read any more\n  run again, or restore it\n']);
  expect(existsSync(place('late'))).toBe(false);
});

test('lineage of a task is that of the pipeline that is named', async () => {
  expect((await pipe('run', 'other')).code).toBe(2);
  writeFileSync(place('pipelines/other.yaml'), 'stages: { take: { uses: say, with: { word: other } } }\n');
  expect((await pipe('run', 'other')).code).toBe(0);
  const made = async (...args: readonly string[]) =>
    (JSON.parse((await pipe('lineage', 'take', ...args, '--json')).out) as LineageGraph).nodes[0]!;
  expect(await made()).toMatchObject({ action: { uses: 'say' } });
  expect(await made('talk')).toMatchObject({ action: { uses: 'take' } });
  expect((await pipe('lineage', 'pack', 'other')).err).toBe('no run of other holds a result of pack\n');
});

function because(): string {
  return noValidators === null ? '' : ` (skipped: ${noValidators})`;
}

function sha256(bytes: Uint8Array): string {
  return createHash('sha256').update(bytes).digest('hex');
}

function eventsOf(text: string): RunEvent[] {
  return text
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line));
}

interface CrateEntity {
  readonly '@id': string;
  readonly '@type': string | readonly string[];
  readonly [property: string]: unknown;
}

function crateEntities(folder: string): readonly CrateEntity[] {
  return JSON.parse(readFileSync(place(join(folder, 'ro-crate-metadata.json')), 'utf8'))['@graph'];
}

/** Throws where an event, or a facet in it, does not keep the published schema. */
function eventChecker(): (event: RunEvent) => void {
  const folder = join(import.meta.dirname, 'schemas', 'openlineage');
  const read = (path: string) => JSON.parse(readFileSync(join(folder, path), 'utf8'));
  const ajv = new Ajv2020({ allErrors: true, strict: false });
  ajv.addFormat('uuid', /^[0-9a-f]{8}-[0-9a-f]{4}-[1-8][0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$/);
  ajv.addFormat('date-time', /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)$/);
  ajv.addFormat('uri', (text: string) => URL.canParse(text));
  const core = read('OpenLineage.json');
  // Facets that the event schema only mentions, as one choice among others, are not needed: any facet will do there.
  const mentioned = [...JSON.stringify(core).matchAll(/"(facets\/\w+\.json)"/g)].map(([, path]) => path!);
  for (const path of new Set(mentioned)) ajv.addSchema({ not: {} }, `https://openlineage.io/spec/2-0-0/${path}`);
  for (const version of ['1-0-2', '1-0-3', '2-0-2'])
    ajv.addSchema({ ...core, $id: undefined }, `https://openlineage.io/spec/${version}/OpenLineage.json`);
  for (const version of ['1-0-2', '1-0-3', '2-0-2'])
    for (const path of new Set(mentioned)) ajv.addSchema({ not: {} }, `https://openlineage.io/spec/${version}/${path}`);
  ajv.addSchema(core);
  const facets = new Set<string>();
  for (const name of readdirSync(join(folder, 'facets'))) {
    const schema = read(join('facets', name));
    ajv.addSchema(schema);
    facets.add(schema.$id);
  }
  return (event) => {
    expect([ajv.validate(event.schemaURL, event), ajv.errors]).toEqual([true, null]);
    const carried = [event.run.facets, event.job.facets, ...[...event.inputs, ...event.outputs].map((d) => d.facets)];
    for (const facet of carried.flatMap((named) => Object.values(named ?? {}))) {
      expect(facets).toContain(facet._schemaURL.split('#')[0]);
      expect([ajv.validate(facet._schemaURL, facet), ajv.errors]).toEqual([true, null]);
    }
  };
}

/** The address of a server that has just been closed. */
async function unusedAddress(): Promise<string> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => server.close(resolve));
  return `http://127.0.0.1:${port}`;
}

/** A server on loopback that hears POSTs; `answer` gives the status. @returns its address */
async function serve(answer: (headers: IncomingHttpHeaders, body: string) => number): Promise<string> {
  const server: Server = createServer((request, response) => {
    let body = '';
    request.setEncoding('utf8').on('data', (text: string) => {
      body += text;
    });
    request.on('end', () => {
      response.statusCode = answer(request.headers, body);
      response.end();
    });
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  onTestFinished(() => {
    server.closeAllConnections();
    server.close();
  });
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
}

const taker = `import { readFileSync, writeFileSync } from 'node:fs';
import { defineStage } from 'pipe/stage';
export default defineStage({
  description: 'Takes what was said, and a note.',
  params: { options: { type: 'object', default: { a: 1 }, description: 'Any.' } },
  inputs: { said: { description: 'What was said.', many: true }, note: { description: 'A note.' } },
  outputs: { text: { description: 'All of it.', path: 'all/text.txt' } },
  run({ inputs, outputs }) {
    const parts = [...inputs.said.map(({ path }) => path), inputs.note];
    writeFileSync(outputs.text, parts.map((path) => readFileSync(path, 'utf8')).join(' '));
  },
});
`;

const words = `stages:
  say:
    uses: say
    matrix: { word: [a, b] }
    with: { word: '\${{ matrix.word }}' }
`;

const talk = `include: words.yaml
stages:
  take:
    uses: take
    in: { said: { all: say.said }, note: { file: note.txt } }
  pack:
    run: mkdir -p folder/sub && cp \${{ in.text }} folder/sub/text.txt
    shell: true
    in: { text: take.text }
    out: { all: folder }
publish: { all: pack.all }
`;
