import { execFile } from 'node:child_process';
import { accessSync, constants } from 'node:fs';
import { delimiter, join } from 'node:path';
import { promisify } from 'node:util';

/** h2load, a load generator in C: a client in JavaScript would cost more per call than the server it measures. */

export const H2LOAD_MISSING =
  'h2load is not installed (Debian, Ubuntu: apt-get install nghttp2-client; Fedora: dnf install nghttp2; ' +
  'macOS: brew install nghttp2)';

export function findH2load(path = process.env.PATH ?? ''): string | undefined {
  return path
    .split(delimiter)
    .map((dir) => join(dir, 'h2load'))
    .find((candidate) => {
      try {
        accessSync(candidate, constants.X_OK);
        return true;
      } catch {
        return false;
      }
    });
}

export interface H2loadOptions {
  readonly binary: string;
  readonly url: string;
  /** The gRPC-framed request that every call sends. */
  readonly bodyFile: string;
  readonly calls: number;
  readonly connections: number;
  readonly inFlightEach: number;
}

export interface H2loadFigures {
  readonly ratePerSecond: number;
  /** Of all answers; without the frames around them. */
  readonly dataBytes: number;
}

const FINISHED = /finished in [\d.]+\w+, ([\d.]+) req\/s/;
const REQUESTS = /requests: \d+ total, \d+ started, \d+ done, (\d+) succeeded/;
const DATA = /\((\d+)\) data/;

/** Sends so many calls and waits for all answers. Throws when one has not HTTP's 200; gRPC's status it cannot see. */
export async function runH2load(options: H2loadOptions): Promise<H2loadFigures> {
  const { binary, url, bodyFile, calls, connections, inFlightEach } = options;
  const flags = { '-n': calls, '-c': connections, '-m': inFlightEach, '-d': bodyFile };
  const headers = ['-H', 'content-type: application/grpc', '-H', 'te: trailers'];
  const args = Object.entries(flags).flatMap(([name, value]) => [name, String(value)]);
  const { stdout } = await promisify(execFile)(binary, [...args, ...headers, url]);
  const [rate, succeeded, data] = [FINISHED, REQUESTS, DATA].map((pattern) => Number(pattern.exec(stdout)?.[1]));
  if (rate === undefined || data === undefined || succeeded !== calls) throw new Error(`h2load failed:\n${stdout}`);
  return { ratePerSecond: rate, dataBytes: data };
}
