/** Commands for whoever stays at the terminal: watch, timeline, completion. */
import { Argument, type Command, InvalidArgumentError, Option } from 'commander';
import type { Shell } from './completion.ts';
import { command, examples, type Finish, format, wholeNumber, withRequest } from './declare.ts';
import type { TimelineFormat } from './timeline.ts';

/** Adds the commands. */
export function attendingCommands(program: Command, finish: Finish): void {
  withRequest(
    command(
      program,
      'watch',
      '[FILE] [TARGETS...]',
      'Run a pipeline, and again whenever what it depends on is edited.',
    ),
  )
    .option('-j, --jobs <n>', 'tasks at a time (as many as there are cores)', wholeNumber)
    .option('-k, --keep-going', 'go on with what does not depend on a failed task')
    .addHelpText(
      'after',
      examples('pipe watch', 'pipe watch layer-sensitivity report', 'pipe watch --set train.steps=20'),
    )
    .argument('[args...]')
    .action(async (args: string[], options) => finish(await (await import('./watch.ts')).watch(args, options)));

  command(program, 'timeline', '[RUN]', 'Show when each task of a run was executed; the last run if none is named.')
    .addOption(format<TimelineFormat>(['text', 'json', 'chrome']))
    .addOption(new Option('--json', 'as JSON').implies({ format: 'json' }))
    .option('--out <file>', 'write it to a file')
    .addHelpText(
      'after',
      `${examples('pipe timeline', 'pipe timeline --format chrome --out trace.json')}

The format chrome is for chrome://tracing, ui.perfetto.dev and the like.`,
    )
    .argument('[run]')
    .action(async (run: string | undefined, options) =>
      finish(await (await import('./timeline.ts')).timeline(run, options)),
    );

  command(program, 'serve', '', 'Show results, and runs while they go on, in a browser on this machine.')
    .option('--port <n>', 'listen at this port', portNumber, 4400)
    .option('--host <address>', 'listen at this address; others than loopback are open to the network', '127.0.0.1')
    .addHelpText('after', examples('pipe serve', 'pipe serve --port 8080'))
    .action(async (options) => finish(await (await import('./serve.ts')).serve(options)));

  command(program, 'completion', 'SHELL', 'Print what makes a shell complete commands, options, tasks and runs.')
    .addHelpText(
      'after',
      examples(
        "echo 'source <(pipe completion bash)' >> ~/.bashrc",
        "echo 'source <(pipe completion zsh)' >> ~/.zshrc       after compinit",
        "echo 'pipe completion fish | source' >> ~/.config/fish/config.fish",
      ),
    )
    .addArgument(new Argument('<shell>').choices(['bash', 'zsh', 'fish'] satisfies Shell[]))
    .action(async (shell: Shell) => finish((await import('./completion.ts')).completion(shell)));

  // What the scripts ask at each TAB.
  program
    .command('complete', { hidden: true })
    .argument('<index>', '', wholeNumber)
    .argument('[words...]')
    .allowUnknownOption()
    .action(async (index: number, words: string[]) =>
      finish(await (await import('./completion.ts')).complete(program, index, words)),
    );
}

function portNumber(text: string): number {
  const value = Number(text);
  if (!/^\d+$/.test(text) || value > 65_535) throw new InvalidArgumentError('It must be a port: 0 (any) to 65535.');
  return value;
}
