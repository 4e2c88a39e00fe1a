/** Completion in shells: the script that a shell reads once, and the candidates that it asks for at each TAB. */
import { readdirSync } from 'node:fs';
import { basename, extname, join } from 'node:path';
import type { Command, Option } from 'commander';
import type { Graph } from '../engine/graph.ts';
import { runIds } from '../engine/runs.ts';
import type { Workspace } from '../engine/workspace.ts';
import { openFile, withWorkspace } from './request.ts';
import { print } from './text.ts';

export type Shell = 'bash' | 'zsh' | 'fish';
export const shells: readonly Shell[] = ['bash', 'zsh', 'fish'];

/** Prints the script of a shell. */
export function completion(shell: Shell): number {
  print(scripts[shell].trim());
  return 0;
}

/** One candidate a line: the word, and behind a TAB what it is, where there is more to say. */
const scripts: Readonly<Record<Shell, string>> = {
  // `=` stands in the names of tasks: it must not end a word.
  bash: `
COMP_WORDBREAKS=\${COMP_WORDBREAKS//=}
_pipe_complete() {
  local word
  COMPREPLY=()
  while IFS= read -r word; do
    case "\${COMP_WORDS[COMP_CWORD]}" in
      [\\"\\']*) COMPREPLY+=("$word") ;;
      *) COMPREPLY+=("$(printf %q "$word")") ;;
    esac
  done < <("\${COMP_WORDS[0]}" complete -- "$COMP_CWORD" "\${COMP_WORDS[@]}" 2>/dev/null | cut -f 1)
}
complete -o bashdefault -o default -F _pipe_complete pipe`,
  zsh: `
#compdef pipe
_pipe() {
  local line
  local -a found shown
  while IFS= read -r line; do
    found+=("\${line%%$'\\t'*}")
    shown+=("\${line/$'\\t'/  -- }")
  done < <("\${words[1]}" complete -- $((CURRENT - 1)) "\${words[@]}" 2>/dev/null)
  if (( \${#found} )); then compadd -l -d shown -a found; else _files; fi
}
compdef _pipe pipe`,
  fish: `
function __pipe_complete
  set -l before (commandline -opc)
  set -l current (commandline -ct)
  pipe complete -- (count $before) $before "$current" 2>/dev/null
end
complete -c pipe -e
complete -c pipe -f -a '(__pipe_complete)'`,
};

interface Candidate {
  readonly word: string;
  readonly about?: string;
}

/**
 * Prints the candidates for a word of a command line. Whatever goes wrong, there are none: a TAB is no place for errors.
 * @param index of the word to complete; the words begin with the command's own name.
 */
export async function complete(program: Command, index: number, words: readonly string[]): Promise<number> {
  const typed = words.slice(1, index).map(unquoted);
  const current = unquoted(words[index] ?? '');
  const found = await candidates(program, typed, current).catch(() => []);
  for (const { word, about } of found) {
    if (word.startsWith(current)) print(about === undefined ? word : `${word}\t${about}`);
  }
  return 0;
}

/** Bash and zsh hand over a word as it was typed, with its quotes. */
function unquoted(word: string): string {
  return word.replaceAll(/^["']|["']$|\\(?=.)/g, '');
}

async function candidates(program: Command, typed: readonly string[], current: string): Promise<Candidate[]> {
  const [name, ...rest] = typed;
  const commands = program.createHelp().visibleCommands(program);
  if (name === undefined) {
    return commands.map((command) => ({ word: command.name(), about: firstSentence(command.description()) }));
  }
  const command = commands.find((each) => each.name() === name);
  if (command === undefined) return [];
  if (current.startsWith('-')) {
    return command.options.map(({ long, short, description }) => ({ word: long ?? short!, about: description }));
  }
  const before = rest.at(-1);
  const option = command.options.find(({ long, short }) => before !== undefined && [long, short].includes(before));
  const given = argumentsIn(command, rest);
  if (option?.required === true) return valuesOf(option, given);
  return argumentsOf(command.name(), given, current);
}

function firstSentence(text: string): string {
  return text.replace(/\.$/, '');
}

/** The words that are neither options nor their values. */
function argumentsIn(command: Command, words: readonly string[]): string[] {
  const found: string[] = [];
  for (let at = 0; at < words.length; at++) {
    const word = words[at]!;
    const option = command.options.find(({ long, short }) => word === long || word === short);
    if (option?.required === true) at += 1;
    else if (!word.startsWith('-')) found.push(word);
  }
  return found;
}

function valuesOf(option: Option, given: readonly string[]): Promise<Candidate[]> {
  if (option.argChoices !== undefined) return Promise.resolve(option.argChoices.map((word) => ({ word })));
  return withWorkspace(async (workspace) => {
    switch (option.long) {
      case '--profile':
        return profilesOf(workspace, given);
      case '--run':
        return runs(workspace);
      default:
        return [];
    }
  });
}

/** What may stand where a command's next argument does. */
function argumentsOf(command: string, given: readonly string[], current: string): Promise<Candidate[]> {
  return withWorkspace(async (workspace) => {
    const isFirst = given.length === 0;
    switch (command) {
      case 'run':
      case 'status':
      case 'watch':
        return isFirst
          ? [...pipelines(workspace), ...(await tasks(workspace, undefined, current))]
          : tasks(workspace, given[0], current);
      case 'why':
      case 'log':
      case 'lineage':
        return isFirst ? tasks(workspace, undefined, current) : pipelines(workspace);
      case 'dag':
        return isFirst ? pipelines(workspace) : [];
      case 'diff':
      case 'timeline':
        return runs(workspace);
      case 'stages':
        return (await workspace.stages.list()).map((stage) => ({
          word: stage.name,
          about: firstSentence(stage.interface.description),
        }));
      case 'completion':
        return shells.map((word) => ({ word }));
      default:
        return [];
    }
  });
}

function pipelines({ project }: Workspace): Candidate[] {
  return readdirSync(join(project.root, 'pipelines'))
    .filter((file) => /\.ya?ml$/.test(file))
    .map((file) => ({ word: basename(file, extname(file)), about: 'pipeline' }));
}

function runs({ project }: Workspace): Candidate[] {
  const named = [
    { word: 'latest', about: 'the last run' },
    { word: 'previous', about: 'the run before it' },
  ];
  return [...named, ...runIds(project.cache).map((word) => ({ word }))];
}

/** Stages; the tasks of one as soon as its bracket is open. */
async function tasks(workspace: Workspace, file: string | undefined, current: string): Promise<Candidate[]> {
  // The first word may be a target of the last run's pipeline; and there may have been no run.
  const open = async (name: string | undefined) => await openFile(workspace, name, {});
  const graph = await open(file)
    .catch(() => open(undefined))
    .catch(() => null);
  if (graph === null) return [];
  if (current.includes('[')) return graph.tasks.map(({ id }) => ({ word: id }));
  return [...stagesOf(graph)].map(([word, number]) => ({ word, about: number === 1 ? 'task' : `${number} tasks` }));
}

function stagesOf({ tasks }: Graph): Map<string, number> {
  const numbers = new Map<string, number>();
  for (const { stage } of tasks) numbers.set(stage, (numbers.get(stage) ?? 0) + 1);
  return numbers;
}

async function profilesOf(workspace: Workspace, given: readonly string[]): Promise<Candidate[]> {
  const [{ DiagnosticList }, { readPipeline }, { SchemaChecker }] = await Promise.all([
    import('../engine/diagnostics.ts'),
    import('../engine/include.ts'),
    import('../engine/schema.ts'),
  ]);
  const names = pipelines(workspace).map(({ word }) => word);
  const meant = given.find((word) => names.includes(word)) ?? names[0];
  if (meant === undefined) return [];
  const file = readdirSync(join(workspace.project.root, 'pipelines')).find(
    (each) => basename(each, extname(each)) === meant,
  );
  const path = join('pipelines', file!);
  const { profiles } = readPipeline(path, workspace.project.root, new SchemaChecker(), new DiagnosticList());
  return [...profiles.keys()].map((word) => ({ word, about: `profile of ${meant}` }));
}
