/**
 * Builds native/ into build/native/<digest>/pipe.node: with the C++ compiler alone, or with nvcc too where there is one
 * (in CUDA_HOME, or on PATH). Run as a program, prints what came of it.
 */
import { execFile, execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  closeSync,
  existsSync,
  fsyncSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  utimesSync,
} from 'node:fs';
import { availableParallelism, cpus } from 'node:os';
import { basename, delimiter, dirname, join, relative } from 'node:path';
import { pathToFileURL } from 'node:url';
import { promisify } from 'node:util';

const root = dirname(import.meta.dirname);
const native = join(root, 'native');
const builds = join(root, 'build', 'native');

/** The CPU that -march=native compiles for: its model and, where the system lists them, its instruction sets. */
function cpu() {
  const model = cpus()[0]?.model ?? process.arch;
  if (!existsSync('/proc/cpuinfo')) return model;
  const features = /^(?:flags|Features)\s*:.*$/m.exec(readFileSync('/proc/cpuinfo', 'utf8'));
  return `${model} ${features?.[0] ?? ''}`;
}

/**
 * How the native sources are compiled. -ffast-math stays out: it would reorder the range reduction in exp. errno and
 * traps are not used.
 * @returns {string[]}
 */
export function compileFlags() {
  const includes = ['node-api-headers', 'node-addon-api'].map((name) => {
    const folder = join(root, 'node_modules', name);
    return `-I${name === 'node-api-headers' ? join(folder, 'include') : folder}`;
  });
  return [
    ...['-std=c++17', '-O3', process.arch === 'x64' ? '-march=native' : '-mcpu=native'],
    ...['-fPIC', '-fvisibility=hidden', '-fno-math-errno', '-fno-trapping-math', '-Wall', '-Wextra', '-Wno-psabi'],
    ...['-DNAPI_VERSION=8', '-DNAPI_CPP_EXCEPTIONS', '-DNODE_ADDON_API_DISABLE_DEPRECATED'],
    ...includes,
  ];
}

/** Node's own symbols are found when the addon is loaded into it. */
const linkFlags = ['-shared', '-pthread', ...(process.platform === 'darwin' ? ['-undefined', 'dynamic_lookup'] : [])];

/** The C++ compiler's command. @returns {string} */
export const compiler = () => process.env.CXX || 'g++';

function digest(...parts) {
  const hash = createHash('sha256');
  for (const part of parts) hash.update(`${part.length}\n`).update(part);
  return hash.digest('hex');
}

/** What only a build with CUDA compiles. The door, cuda.h, is part of every build. */
function isCuda(path) {
  return /\.cuh?$/.test(path) || (dirname(path) === 'cuda' && !/[/\\]cuda\.h$/.test(path));
}

/** Every source and header under native/ that a build is made from, sorted, with its text. */
function sources(withCuda) {
  const absent = join('cuda', 'absent.cc');
  return readdirSync(native, { recursive: true })
    .filter((path) => /\.(?:cc|h|cu|cuh)$/.test(path))
    .filter((path) => (withCuda ? path !== absent : path === absent || !isCuda(path)))
    .sort()
    .map((path) => ({ path, text: readFileSync(join(native, path), 'utf8') }));
}

/** The CUDA toolkit that has a compiler and cuBLASLt's headers, or undefined. */
function cudaToolkit() {
  const folders = [process.env.CUDA_HOME, ...(process.env.PATH ?? '').split(delimiter).map((bin) => dirname(bin))];
  const home = folders.find((folder) => folder && existsSync(join(folder, 'bin', 'nvcc')));
  if (home === undefined || !existsSync(join(home, 'include', 'cublasLt.h'))) return undefined;
  const nvcc = join(home, 'bin', 'nvcc');
  return { home, nvcc, version: execFileSync(nvcc, ['--version'], { encoding: 'utf8' }) };
}

/** Flags of CUDA sources but for what they are compiled for. */
const cudaFlags = [
  ...['-std=c++17', '-O3', '--extended-lambda'],
  ...['-DPIPE_FOR_CUDA', '-Xcompiler', '-fPIC,-fvisibility=hidden,-Wall,-Wextra', '-lineinfo'],
];

/**
 * Machine code for Hopper, and PTX that the driver compiles for what comes after; for sources with instructions that only
 * Hopper has, machine code that runs nowhere else: who launches their kernels asks for the GPU's compute capability first.
 */
const targets = { general: 'arch=compute_90,code=[sm_90,compute_90]', hopper: 'arch=compute_90a,code=sm_90a' };
const targetOf = (path) => (path.endsWith('_hopper.cu') ? targets.hopper : targets.general);

/** Sources that both devices compile: the second time for CUDA. */
const compiledForBoth = /^kernels[/\\](?:bind_\w+|registry)\.cc$/;

/** The compilations that a build consists of: a source, the program that compiles it, and its arguments. */
function compilations({ files, flags, cuda }) {
  const ofKind = (kind) => files.filter(({ path }) => path.endsWith(kind));
  const forCpu = (file) => ({ file, program: compiler(), args: flags, forCuda: false });
  const plain = ofKind('.cc').filter(({ path }) => !isCuda(path));
  if (cuda === undefined) return ofKind('.cc').map(forCpu);
  const args = [...flags, `-I${join(cuda.home, 'include')}`, '-DPIPE_FOR_CUDA'];
  const twice = plain.filter(({ path }) => compiledForBoth.test(path));
  const hosted = [...ofKind('.cc').filter(({ path }) => isCuda(path)), ...twice];
  return [
    ...plain.map(forCpu),
    ...hosted.map((file) => ({ file, program: compiler(), args, forCuda: true })),
    ...ofKind('.cu').map((file) => ({
      file,
      program: cuda.nvcc,
      args: ['-ccbin', compiler(), ...cudaFlags, '-gencode', targetOf(file.path)],
      forCuda: true,
    })),
  ];
}

/** The CUDA runtime goes into the addon; cuBLASLt and the driver are found when it runs. */
function cudaLinkFlags(cuda) {
  return cuda === undefined ? [] : [`-L${join(cuda.home, 'lib64')}`, '-lcudart_static', '-ldl', '-lrt'];
}

/** What the compiler says it is; undefined when it cannot be run. */
function compilerVersion() {
  try {
    return execFileSync(compiler(), ['--version'], { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
  } catch {
    return undefined;
  }
}

/** What a build is made from: its files, and a digest of all else that decides the result; or why there can be none. */
function recipe() {
  const wish = process.env.PIPE_NATIVE ?? '';
  if (wish === 'off') return { unavailable: 'PIPE_NATIVE=off' };
  if (wish !== '') {
    return { unavailable: `PIPE_NATIVE is '${wish}', and only 'off' means something: unset it for native kernels` };
  }
  const version = compilerVersion();
  if (version === undefined) {
    return { unavailable: `no C++ compiler: '${compiler()}' cannot be run (install g++, or set CXX)` };
  }
  const headers = ['node-api-headers', 'node-addon-api'].map((name) =>
    readFileSync(join(root, 'node_modules', name, 'package.json'), 'utf8'),
  );
  const flags = compileFlags();
  const portable = flags.map((flag) => flag.replace(root, ''));
  const cuda = cudaToolkit();
  const tools = digest(version, cpu(), ...headers, ...portable, ...linkFlags);
  const cudaTools = cuda === undefined ? '' : digest(tools, cuda.version, ...cudaFlags, ...Object.values(targets));
  return { files: sources(cuda !== undefined), flags, cuda, tools, cudaTools };
}

function pathOf({ files, tools, cudaTools }) {
  return join(builds, digest(tools, cudaTools, ...files.flatMap(({ path, text }) => [path, text])), 'pipe.node');
}

/**
 * Where the addon's build lies or would lie.
 * @returns {{ path: string } | { unavailable: string }}
 */
export function nativeBuild() {
  const made = recipe();
  return 'unavailable' in made ? made : { path: pathOf(made) };
}

/** Runs the compiler so that `path` appears whole, power cuts included: another name is written, flushed, and then renamed. */
async function compile(path, program, args) {
  const temporary = join(dirname(path), `.${process.pid}-${basename(path)}`);
  try {
    await promisify(execFile)(program, [...args, '-o', temporary]);
    const file = openSync(temporary, 'r+');
    fsyncSync(file);
    closeSync(file);
    renameSync(temporary, path);
  } finally {
    rmSync(temporary, { force: true });
  }
}

/** Compiles one source unless its object exists: objects are named by their content too, so an edit recompiles little. */
async function compileSource({ file: { path, text }, program, args, forCuda }, { tools, cudaTools, headers }) {
  const seen = headers.filter((header) => forCuda || !isCuda(header.path));
  const made = digest(forCuda ? cudaTools : tools, path, text, ...seen.map((header) => header.text));
  const object = join(builds, 'objects', `${made}.o`);
  if (existsSync(object)) utimesSync(object, new Date(), new Date());
  else await compile(object, program, [...args, '-c', join(native, path)]);
  return object;
}

/** What no build has used for so long is removed with the next one. */
const keptDays = 7;

/** Removes old builds, old objects, and what a compiler that was killed left. Another process may do the same at once. */
function prune() {
  const oldest = Date.now() - keptDays * 24 * 3600 * 1000;
  for (const folder of [builds, join(builds, 'objects')]) {
    for (const name of readdirSync(folder)) {
      const path = join(folder, name);
      const modified = statSync(path, { throwIfNoEntry: false })?.mtimeMs ?? Number.POSITIVE_INFINITY;
      if (name !== 'objects' && modified < oldest) rmSync(path, { recursive: true, force: true });
    }
  }
}

/**
 * Builds the addon unless its build exists. Safe in several processes at once.
 * @returns {Promise<{ path: string } | { unavailable: string }>} why there is no addon: no compiler, or its messages.
 */
export async function buildNative() {
  const made = recipe();
  if ('unavailable' in made) return made;
  const path = pathOf(made);
  if (existsSync(path)) return { path };
  mkdirSync(join(builds, 'objects'), { recursive: true });
  const headers = made.files.filter(({ path }) => /\.(?:h|cuh)$/.test(path));
  const pending = compilations(made);
  const objects = [];
  const worker = async () => {
    for (let next = pending.pop(); next !== undefined; next = pending.pop()) {
      objects.push(await compileSource(next, { ...made, headers }));
    }
  };
  try {
    await Promise.all(Array.from({ length: availableParallelism() }, worker));
    mkdirSync(dirname(path), { recursive: true });
    await compile(path, compiler(), [...objects.sort(), ...linkFlags, ...cudaLinkFlags(made.cuda)]);
    prune();
  } catch (error) {
    return {
      unavailable: `the native addon does not build with ${compiler()}${made.cuda ? ' and nvcc' : ''}:\n${error.stderr || error.message}`,
    };
  }
  return { path };
}

function report(result) {
  if ('unavailable' in result) {
    console.error(result.unavailable);
    process.exitCode = 1;
  } else console.log(relative(process.cwd(), result.path));
}

const isProgram = process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href;
if (isProgram) buildNative().then(report);
