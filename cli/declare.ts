/** Building blocks of the command line: a command, options that several have, help that shows examples. */
import { type Command, InvalidArgumentError, Option } from 'commander';
import type { DeviceChoice } from '../engine/devices.ts';

/** Hears the exit code of the command that ran. */
export type Finish = (code: number) => void;

export function command(program: Command, name: string, usage: string, description: string): Command {
  return program.command(name).description(description).usage(`${usage} [options]`.trim()).exitOverride();
}

export function withRequest(target: Command): Command {
  return target
    .option('--profile <name>', 'take the params of a profile')
    .option('--param <name=value>', 'set a param of the pipeline (YAML or JSON; repeatable)', collect(String))
    .option('--set <stage.param=value>', 'set a parameter of one stage (repeatable)', collect(String))
    .addOption(
      new Option('--device <device>', 'what trains and evaluates: auto is the GPU, where there is one')
        .choices(['auto', 'cpu', 'cuda'] satisfies DeviceChoice[])
        .env('PIPE_DEVICE'),
    );
}

/** An option that may be given again and again: the list of its values. */
export function collect<T>(parse: (text: string) => T): (text: string, all?: readonly T[]) => readonly T[] {
  return (text, all = []) => [...all, parse(text)];
}

export function format<F extends string>(choices: readonly F[]): Option {
  return new Option('--format <format>', 'how to write it').choices(choices).default('text');
}

export function examples(...lines: readonly string[]): string {
  return `\nExamples:\n${lines.map((line) => `  $ ${line}`).join('\n')}`;
}

export function wholeNumber(text: string): number {
  const value = Number(text);
  if (!Number.isSafeInteger(value) || value < 1) throw new InvalidArgumentError('It must be a whole number above 0.');
  return value;
}
