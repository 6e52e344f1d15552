import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { ROOT } from './servers.js';

/** The parts of a .cpuprofile that are read. */
interface CpuProfile {
  readonly nodes: readonly {
    readonly id: number;
    readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number };
  }[];
  /** Of the monotonic clock, in µs. */
  readonly startTime: number;
  readonly samples: readonly number[];
  readonly timeDeltas: readonly number[];
}

export interface ProfiledFunction {
  readonly name: string;
  /** file:line, or what V8 calls it where it is none. */
  readonly where: string;
  readonly selfUs: number;
}

/** On the clock that profiles use, which all processes share. */
export function monotonicUs(): number {
  return Number(process.hrtime.bigint() / 1_000n);
}

/** Self time by function between two times, the most first; idle time is left out. */
export async function readCpuProfile(
  folder: string,
  span: { readonly fromUs: number; readonly toUs: number },
): Promise<{ readonly busyUs: number; readonly functions: readonly ProfiledFunction[] }> {
  const [file] = await readdir(folder);
  if (file === undefined) throw new Error('the service wrote no profile');
  const profile = JSON.parse(await readFile(join(folder, file), 'utf8')) as CpuProfile;
  const frames = new Map(profile.nodes.map(({ id, callFrame }) => [id, callFrame]));
  const functions = new Map<string, ProfiledFunction>();
  let atUs = profile.startTime;
  let busyUs = 0;
  for (const [index, id] of profile.samples.entries()) {
    const lastedUs = profile.timeDeltas[index + 1] ?? 0;
    atUs += profile.timeDeltas[index] ?? 0;
    const frame = frames.get(id);
    if (frame === undefined || frame.functionName === '(idle)' || atUs < span.fromUs || atUs > span.toUs) continue;
    const name = frame.functionName === '' ? '(anonymous)' : frame.functionName;
    const where = frame.url === '' ? 'V8' : `${shortPath(frame.url)}:${frame.lineNumber + 1}`;
    const key = `${name} ${where}`;
    functions.set(key, { name, where, selfUs: (functions.get(key)?.selfUs ?? 0) + lastedUs });
    busyUs += lastedUs;
  }
  return { busyUs, functions: [...functions.values()].sort((a, b) => b.selfUs - a.selfUs) };
}

/** Relative to the repository. */
function shortPath(url: string): string {
  if (!url.startsWith('file:')) return url;
  const path = fileURLToPath(url);
  return path.startsWith(ROOT) ? path.slice(ROOT.length) : path.replace(/^.*\/node_modules\//, 'node_modules/');
}
