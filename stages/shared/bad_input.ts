/** Turns the errors of model/'s readers into a stage's own, which reach the user as a message without a stack trace. */
import { StageError } from '../../engine/stage.ts';
import { FormatError } from '../../model/format_error.ts';

/** Runs the work. @throws StageError with the same message where the work throws a FormatError; other errors as they are. */
export async function refusingBadInput<T>(work: () => T | Promise<T>): Promise<T> {
  try {
    return await work();
  } catch (error) {
    if (error instanceof FormatError) throw new StageError(error.message, { cause: error });
    throw error;
  }
}
