/** Reads times ("10m") and sizes ("2GB"). */

const SECONDS: Readonly<Record<string, number>> = { ms: 0.001, s: 1, m: 60, h: 3600, d: 86_400 };

const BYTES: Readonly<Record<string, number>> = {
  b: 1,
  kb: 1e3,
  mb: 1e6,
  gb: 1e9,
  tb: 1e12,
  kib: 2 ** 10,
  mib: 2 ** 20,
  gib: 2 ** 30,
  tib: 2 ** 40,
};

/** @returns seconds, from a number of seconds or a text like `30s`, `10m` or `1h30m`; null when it is neither. */
export function parseDuration(value: unknown): number | null {
  if (typeof value === 'number') return value > 0 ? value : null;
  if (typeof value !== 'string' || !/^(\d+(\.\d+)?(ms|s|m|h|d))+$/.test(value)) return null;
  let seconds = 0;
  for (const [, amount, unit] of value.matchAll(/(\d+(?:\.\d+)?)(ms|s|m|h|d)/g))
    seconds += Number(amount) * SECONDS[unit!]!;
  return seconds > 0 ? seconds : null;
}

/** @returns bytes, from a number of bytes or a text like `512MB`, `2 GB` or `1.5GiB`; null when it is neither. */
export function parseBytes(value: unknown): number | null {
  if (typeof value === 'number') return value >= 0 && Number.isSafeInteger(value) ? value : null;
  const match = typeof value === 'string' ? /^(\d+(?:\.\d+)?)\s*([kmgt]?i?b)$/i.exec(value) : null;
  const factor = match === null ? undefined : BYTES[match[2]!.toLowerCase()];
  return factor === undefined ? null : Math.round(Number(match![1]) * factor);
}
