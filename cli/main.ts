/** The `pipe` command: reads the arguments, runs one command, and ends with its exit code. */
import '../scripts/node-version.mjs';
import { CommanderError } from 'commander';
import { exitCodeOf, reportError } from './failure.ts';
import { buildProgram } from './program.ts';

/** @returns the exit code: 0 done, 1 a stage failed or something is stale, 2 the file or the arguments are wrong, 130 interrupted. */
export async function main(args: readonly string[]): Promise<number> {
  let code = 0;
  const program = buildProgram((result) => {
    code = result;
  });
  try {
    await program.parseAsync(args, { from: 'user' });
    return code;
  } catch (error) {
    // Commander has printed its message, or the help.
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    await reportError(error, args.includes('--json'));
    return exitCodeOf(error);
  }
}

// A reader that has seen enough (`pipe dag | head`) is no error; a run that it ends is not done, and has set another code.
process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  if (error.code === 'EPIPE') process.exit();
  throw error;
});
process.exitCode = await main(process.argv.slice(2));
