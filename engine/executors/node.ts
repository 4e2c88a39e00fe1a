/** The program of a cluster's job: runs one attempt on the node, in a worker process, and leaves word of how it went. */
import { appendFileSync, existsSync, readFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { pick } from '../environment.ts';
import { thisHost } from '../host.ts';
import type { Complaint } from '../protocol.ts';
import { Masker } from '../secrets.ts';
import { supervised } from '../supervise.ts';
import { startWorker } from '../workers.ts';
import { JobFiles, type LastWord, type Told, type WrittenOrder } from './jobs_folder.ts';

/** How often it looks whether its folder is still there. */
const lookMs = 2000;

const folder = process.argv[2]!;
const files = new JobFiles(dirname(folder), basename(folder));
const order = JSON.parse(readFileSync(join(folder, 'order.json'), 'utf8')) as WrittenOrder;

const secrets = pick(process.env, order.secrets);
const masker = new Masker(secrets);
const startedAt = new Date().toISOString();
const begun = performance.now();
const tell = (told: Told) => appendFileSync(files.replies, `${masker.text(JSON.stringify(told))}\n`);
/** Leaves the last word. */
function end(complaint: Complaint | null): never {
  tell({
    type: 'ended',
    complaint,
    startedAt,
    seconds: (performance.now() - begun) / 1000,
    host: { ...thisHost(), name: process.env.PIPE_NODE || thisHost().name },
    job: process.env.PIPE_JOB ?? '',
  } satisfies LastWord);
  process.exit(complaint === null ? 0 : 1);
}

const controller = new AbortController();
process.on('SIGTERM', () => controller.abort());

const absent = order.secrets.find((name) => secrets[name] === undefined);
if (absent !== undefined) {
  const message = `the secret ${absent} is not in the environment of the job: let sbatch hand it over (--export)`;
  end({ kind: 'stage-error', message });
}

const worker = await startWorker(order.worker, files.log);
setInterval(() => {
  // The run gave this attempt up (its node was said to be dead): nobody wants what it does.
  if (!existsSync(order.job.folder)) worker.stop().then(() => process.exit(75));
}, lookMs).unref();

const complaint = await supervised(
  worker,
  { ...order.job, secrets },
  {
    progress: (done, total) => tell({ type: 'progress', done, total }),
    warn: (message) => tell({ type: 'warning', message }),
    measure: (name, value) => tell({ type: 'measure', name, value }),
  },
  order.timeoutSeconds,
  controller.signal,
);
await worker.stop();
// Cancelled, preempted, out of time: the cluster knows which of them it was.
if (controller.signal.aborted) process.exit(143);
end(complaint);
