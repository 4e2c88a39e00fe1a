/** JSON text that carries the sha256 of the rest of itself: damage is seen before anything in it is believed. */
import { sha256 } from './digest.ts';

const head = '{"sha256":"';
const digits = 64;

/** An object as JSON whose first member, `sha256`, is the digest of every byte after it. `indent` as for JSON.stringify. */
export function checkedJson(value: object, indent?: number): string {
  const body = JSON.stringify(value, null, indent);
  const rest = `"${body === '{}' ? '' : ','}${body.slice(1)}\n`;
  return `${head}${sha256(rest)}${rest}`;
}

/** The object in such a text, without its digest; undefined when a single bit of it is not as it was written. */
export function parseChecked(content: Buffer): unknown {
  const at = head.length + digits;
  const rest = content.subarray(at);
  if (content.toString('latin1', 0, at) !== head + sha256(rest)) return undefined;
  return JSON.parse(`{${rest.toString('utf8', rest[1] === 0x2c ? 2 : 1)}`);
}
