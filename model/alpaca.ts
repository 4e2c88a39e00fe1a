/** The two prompt forms of Stanford Alpaca (Taori et al., 2023): with and without an input. */

/**
 * The prompt of a record, up to where the response begins. An input of blanks alone counts as none.
 */
export function alpacaPrompt(record: { readonly instruction: string; readonly input: string }): string {
  const head = 'Below is an instruction that describes a task';
  const request = 'Write a response that appropriately completes the request.';
  return record.input.trim() === ''
    ? `${head}. ${request}\n\n### Instruction:\n${record.instruction}\n\n### Response:\n`
    : `${head}, paired with an input that provides further context. ${request}\n\n### Instruction:\n${record.instruction}\n\n### Input:\n${record.input}\n\n### Response:\n`;
}
