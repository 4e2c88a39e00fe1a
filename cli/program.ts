/** The command line: every command with its arguments, options, help and examples. Each is loaded when it is asked for. */
import { Argument, Command, Option } from 'commander';
import packageFile from '../package.json' with { type: 'json' };
import { attendingCommands } from './attending.ts';
import type { CacheAction } from './cache.ts';
import type { GraphFormat } from './dag.ts';
import { collect, command, examples, type Finish, format, wholeNumber, withRequest } from './declare.ts';
import type { LineageFormat } from './lineage.ts';

/** Builds the command line. Nothing of the engine is loaded until a command's action runs. */
export function buildProgram(finish: Finish): Command {
  const program = new Command('pipe')
    .description('Machine-learning experiments as YAML graphs, cached by content.')
    .exitOverride()
    .showHelpAfterError('(add --help for what there is)')
    .helpOption('-h, --help', 'say what there is')
    .version(packageFile.version, '-V, --version', 'say which version this is')
    .configureHelp({ subcommandTerm: (target) => target.name() })
    .addHelpText(
      'after',
      `
FILE is a pipeline: a path, or the name of a file in pipelines/. Without FILE,
run takes the only pipeline there is, or default.yaml; status, why and dag take
that of the last run as it was asked for: --profile then replaces its profile,
--param and --set come on top. With FILE, nothing of the last run counts.

Examples:
  $ pipe run pipelines/layer-sensitivity.yaml
  $ pipe status
  $ pipe why train
  $ pipe COMMAND --help`,
    );
  runCommands(program.commandsGroup('Running:'), finish);
  attendingCommands(program.commandsGroup('At the terminal:'), finish);
  storeCommands(program.commandsGroup('Results and the cache:'), finish);
  projectCommands(program.commandsGroup('The project:'), finish);
  const help = new Command('help').usage('COMMAND').description('Say all about a command.').argument('[command]');
  program.addHelpCommand(help.addHelpText('after', examples('pipe help run')));
  return program;
}

/** Commands that look at a pipeline: run, status, why, dag. */
function runCommands(program: Command, finish: Finish): void {
  withRequest(
    command(program, 'run', '[FILE] [TARGETS...]', 'Run a pipeline: what is not up to date, and nothing else.'),
  )
    .option('-j, --jobs <n>', 'tasks at a time (as many as there are cores; 100 on a cluster)', wholeNumber)
    .addOption(
      new Option('--executor <name>', 'where tasks run: on this machine, or as jobs of a Slurm cluster')
        .choices(['local', 'slurm'])
        .default('local')
        .env('PIPE_EXECUTOR'),
    )
    .option('-k, --keep-going', 'go on with what does not depend on a failed task')
    .option('-n, --dry-run', 'say what would run, and why')
    .option('--force', 'run the targets (or all tasks) though they are up to date')
    .option('--json', 'one JSON object a line for everything that happens')
    .addHelpText(
      'after',
      examples(
        'pipe run pipelines/layer-sensitivity.yaml',
        'pipe run layer-sensitivity train -j 4         only train, and what it needs',
        "pipe run layer-sensitivity 'train[*seed=42]'  the tasks of one seed",
        'pipe run layer-sensitivity --profile alpaca --set train.rank=16',
        'pipe run layer-sensitivity --executor slurm',
      ),
    )
    .argument('[args...]')
    .action(async (args: string[], options) => finish(await (await import('./run.ts')).run(args, options)));

  withRequest(command(program, 'status', '[FILE] [TARGETS...]', 'Say what a run would do, without running anything.'))
    .option('--check', 'end with 1 if anything is not up to date')
    .option('--json', 'as JSON')
    .addHelpText('after', examples('pipe status', 'pipe status layer-sensitivity report --check'))
    .argument('[args...]')
    .action(async (args: string[], options) => finish(await (await import('./status.ts')).status(args, options)));

  withRequest(
    command(
      program,
      'why',
      'TASK [FILE]',
      'Say why a task has to run: the parameter, input or source file, old and new.',
    ),
  )
    .option('--json', 'as JSON')
    .addHelpText(
      'after',
      examples(
        'pipe why report',
        "pipe why 'train[precision=nf4,seed=42]'",
        "pipe why 'train[*nf4*]' layer-sensitivity",
      ),
    )
    .argument('<task>')
    .argument('[file]')
    .action(async (task: string, file: string | undefined, options) =>
      finish(await (await import('./why.ts')).why(task, file, options)),
    );

  withRequest(command(program, 'dag', '[FILE]', 'Draw the graph of a pipeline.'))
    .addOption(format<GraphFormat>(['text', 'mermaid', 'dot', 'json']))
    .addOption(new Option('--json', 'as JSON').implies({ format: 'json' }))
    .option('--tasks', 'every task instead of every stage')
    .addHelpText(
      'after',
      examples(
        'pipe dag',
        'pipe dag --format mermaid > graph.mmd',
        'pipe dag --tasks --format dot | dot -Tsvg > graph.svg',
      ),
    )
    .argument('[file]')
    .action(async (file: string | undefined, options) => finish(await (await import('./dag.ts')).dag(file, options)));
}

/** Commands that look at what runs left behind: log, lineage, diff, verify, gc, cache. */
function storeCommands(program: Command, finish: Finish): void {
  command(program, 'log', 'TASK [FILE]', "Print a task's log: of its last failure or result.")
    .option('--run <run>', 'of this run')
    .option('-f, --follow', 'go on while a run executes the task, until it ends')
    .option('--json', 'as JSON')
    .addHelpText(
      'after',
      `${examples("pipe log 'train[precision=nf4,seed=42]'", 'pipe log report layer-sensitivity', 'pipe log -f pretrain')}

Without FILE, it is that of the newest run with such a task, of any pipeline.`,
    )
    .argument('<task>')
    .argument('[file]')
    .action(async (task: string, file: string | undefined, options) =>
      finish(await (await import('./log.ts')).log(task, file, options)),
    );

  command(
    program,
    'lineage',
    'PATH|TASK [FILE]',
    'Walk from a published file or a task back to its sources: digests, code, parameters, host.',
  )
    .addOption(format<LineageFormat>(['text', 'json', 'dot', 'prov', 'openlineage', 'ro-crate']))
    .addOption(new Option('--json', 'as JSON').implies({ format: 'json' }))
    .option('--out <place>', 'write it to a file; openlineage: or to an http address; ro-crate: a new folder')
    .addHelpText(
      'after',
      `${examples(
        'pipe lineage results/layer-sensitivity/tables',
        'pipe lineage report --format dot | dot -Tsvg > lineage.svg',
        'pipe lineage report layer-sensitivity --format prov --out report.prov.json',
        'pipe lineage report --format openlineage --out http://localhost:5000/lineage',
        'pipe lineage results/layer-sensitivity/tables --format ro-crate --out crate',
      )}

A task is that of the newest run with such a task: of FILE, or of any pipeline.
To a server goes OPENLINEAGE_API_KEY as a bearer token, if it is set.`,
    )
    .argument('<target>')
    .argument('[file]')
    .action(async (target: string, file: string | undefined, options) =>
      finish(await (await import('./lineage.ts')).lineage(target, file, options)),
    );

  command(program, 'runs', '[FILE]', 'List the runs, newest first: how each ended, with which params.')
    .option('--last <n>', 'so many of them', wholeNumber, 20)
    .option('--json', 'as JSON')
    .addHelpText('after', examples('pipe runs', 'pipe runs layer-sensitivity --last 5'))
    .argument('[file]')
    .action(async (file: string | undefined, options) => finish(await (await import('./runs.ts')).runs(file, options)));

  command(
    program,
    'diff',
    '[RUN] [RUN]',
    'Compare two runs: parameters, tasks, what made them differ and whether the results do.',
  )
    .option('--json', 'as JSON')
    .addHelpText(
      'after',
      `${examples('pipe diff                 the last run with the one before it', 'pipe diff 20260131T1015   that run with the last one')}

A run is named by its id or the beginning of it, or by latest and previous.`,
    )
    .argument('[from]')
    .argument('[to]')
    .action(async (from: string | undefined, to: string | undefined, options) =>
      finish(await (await import('./diff.ts')).diff(from, to, options)),
    );

  withRequest(
    command(
      program,
      'verify',
      '[FILE] [TARGETS...]',
      'Read the whole cache again and compare every digest; damage is put aside.',
    ),
  )
    .option('--rerun', 'execute the recorded targets (or all tasks) again, apart from the cache, and compare')
    .option('-j, --jobs <n>', 'tasks at a time with --rerun', wholeNumber)
    .option('--json', 'as JSON')
    .addHelpText('after', examples('pipe verify', 'pipe verify --rerun', "pipe verify --rerun 'train[*seed=42]'"))
    .argument('[args...]')
    .action(async (args: string[], options) => finish(await (await import('./verify.ts')).verify(args, options)));

  command(program, 'gc', '', 'Remove from cache/ what is not wanted any more.')
    .option('--max-size <size>', 'drop what was unused longest until the cache takes no more (2GB, 500MB)')
    .option('--keep-runs <n>', 'keep only what the last n runs of each pipeline used', wholeNumber)
    .option('-n, --dry-run', 'say what would go')
    .option('--json', 'as JSON')
    .addHelpText('after', examples('pipe gc --dry-run', 'pipe gc --keep-runs 3 --max-size 2GB'))
    .action(async (options) => finish(await (await import('./gc.ts')).gc(options)));

  withRequest(
    command(
      program,
      'cache',
      'push|pull|stat [FILE] [TARGETS...]',
      'The shared cache: send to it, fetch from it, ask it.',
    ),
  )
    .option('--json', 'as JSON')
    .addHelpText(
      'after',
      `
push sends what the shared cache lacks: all of cache/, or what FILE needs. pull
fetches the results of a pipeline, whole. stat asks whether it answers, and how
much of cache/ it has. A run does what it needs by itself.
${examples(
  'pipe cache stat',
  'pipe cache push',
  'pipe cache pull layer-sensitivity',
  'PIPE_CACHE_REMOTE=https://cache.example.org/pipe pipe cache stat',
)}`,
    )
    .addArgument(new Argument('<action>', 'what to do').choices(['push', 'pull', 'stat']))
    .argument('[args...]')
    .action(async (action: CacheAction, args: string[], options) =>
      finish(await (await import('./cache.ts')).cache(action, args, options)),
    );
}

/** Commands about the project: stages, advise, init. */
function projectCommands(program: Command, finish: Finish): void {
  command(program, 'advise', '', 'Say which precision, rank and batch of a fine-tuning fit into a memory.')
    .requiredOption('--memory <size>', 'what there is (8GB, 24GiB)')
    .option('--model <name>', 'a model by name, or a checkpoint folder (gpt2-medium)')
    .option('--targets <matrices>', 'what bears adapters: qv, q+k+v+o, attention, all (q+v)')
    .option('--rank <n>', 'a rank to plan (repeatable; 2, 4, 8, 16)', collect(wholeNumber))
    .option('--length <n>', 'tokens of a sequence (512)', wholeNumber)
    .option('--results <folder>', 'where to look for measured quality (results/)')
    .option('--json', 'as JSON')
    .addHelpText(
      'after',
      examples(
        'pipe advise --model gpt2-medium --memory 8GB',
        'pipe advise --model gpt2-xl --memory 24GiB --targets qkvo --rank 8 --rank 64',
      ),
    )
    .action(async (options) => finish(await (await import('./advise.ts')).advise(options)));

  command(program, 'stages', '[NAME]', 'List the stage modules, or say all about one: parameters, inputs, outputs.')
    .option('--json', 'as JSON')
    .addHelpText('after', examples('pipe stages', 'pipe stages train'))
    .argument('[name]')
    .action(async (name: string | undefined, options) =>
      finish(await (await import('./stages.ts')).stages(name, options)),
    );

  command(program, 'init', '[FOLDER]', 'Write a small project that works: a pipeline and a stage.')
    .option('--json', 'as JSON')
    .addHelpText('after', examples('pipe init my-experiment', 'cd my-experiment && pipe run'))
    .argument('[folder]')
    .action(async (folder: string | undefined, options) =>
      finish(await (await import('./init.ts')).init(folder, options)),
    );
}
