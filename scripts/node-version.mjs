/**
 * Ends the process where Node is older than package.json asks for: what is newer than it would fail in words of its own. Imported
 * before anything else.
 */
import { readFileSync } from 'node:fs';

const { engines } = JSON.parse(readFileSync(new URL('../package.json', import.meta.url), 'utf8'));
const [, lowest] = /^>=([\d.]+)$/.exec(engines.node);
const numbers = (version) => version.split('.').map(Number);
const [[major, minor], [lowestMajor, lowestMinor]] = [process.versions.node, lowest].map(numbers);
if (major < lowestMajor || (major === lowestMajor && minor < lowestMinor)) {
  console.error(`pipe needs Node ${lowest} or newer, and this is Node ${process.versions.node}`);
  process.exit(2);
}
