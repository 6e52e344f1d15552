import type { Logger } from 'pino';
import type { NodeReport } from './node-report.js';

type Version = readonly [major: number, minor: number, patch: number];

/**
 * Of each line of releases the first in which scripts cannot break out of their sandbox as far as is known: CVE-2025-49844,
 * CVE-2025-46817 and CVE-2025-46818, and the older CVE-2024-31449 and CVE-2024-46981. Other lines than these were not mended.
 */
const MENDED: Readonly<Record<NodeReport['product'], readonly Version[]>> = {
  redis: [
    [7, 2, 11],
    [7, 4, 6],
    [8, 0, 4],
    [8, 2, 2],
  ],
  valkey: [
    [7, 2, 11],
    [8, 0, 6],
    [8, 1, 4],
  ],
};

/** The release that mends what is known of this one; undefined where nothing is, or the version is none. */
export function mendedIn({ product, version }: Pick<NodeReport, 'product' | 'version'>): string | undefined {
  const own = parse(version);
  if (own === undefined) return undefined;
  const mended = MENDED[product];
  if (mended.some((each) => isOfLine(each, own) && !isBefore(own, each))) return undefined;
  return mended.find((each) => isBefore(own, each))?.join('.');
}

const told = new Set<string>();

/** Warns of a server whose scripts are known to break out, once in the life of the process. */
export function warnOfHoles({ address, product, version }: NodeReport, logger: Logger): void {
  const fixedIn = mendedIn({ product, version });
  const id = `${address} ${version}`;
  if (fixedIn === undefined || told.has(id)) return;
  told.add(id);
  logger.warn(
    { address, product, version, fixedIn },
    'scripts can break out of this version, unless its distribution has mended it: who may run them owns the machine',
  );
}

function parse(version: string): Version | undefined {
  const [, major, minor, patch] = /^(\d+)\.(\d+)\.(\d+)/.exec(version) ?? [];
  return major === undefined ? undefined : [Number(major), Number(minor), Number(patch)];
}

function isOfLine([major, minor]: Version, own: Version): boolean {
  return major === own[0] && minor === own[1];
}

function isBefore(own: Version, other: Version): boolean {
  const at = own.findIndex((part, index) => part !== other[index]);
  return at >= 0 && (own[at] ?? 0) < (other[at] ?? 0);
}
