import type { Logger } from 'pino';
import { warnOfHoles } from '../../redis/known-holes.js';
import { evictionRisk, unusableReason, type NodeReport } from '../../redis/node-report.js';

export interface AdmitOptions {
  /** Refuse, instead of warn, when votes could be evicted. */
  readonly strictEviction: boolean;
  readonly logger: Logger;
  /** The address of another master that is the same process; undefined: none is. */
  readonly sameProcess: (runId: string, address: string) => string | undefined;
  /** A Redis that this service must not serve from. */
  readonly onUnusable: (error: Error) => void;
}

/** Throws where what answers at an address cannot be one of several independent masters. */
export function admitMaster(report: NodeReport, address: string, options: AdmitOptions): void {
  const { logger, strictEviction, sameProcess, onUnusable } = options;
  const refuse = (reason: string): never => {
    const error = new Error(`Redis at ${address}: ${reason}`);
    onUnusable(error);
    throw error;
  };
  const other = sameProcess(report.runId, address);
  const reason = unusableReason(report, 'standalone') ?? (other && `is the same Redis as ${other}`);
  if (reason !== undefined) refuse(reason);
  warnOfHoles(report, logger);
  const risk = evictionRisk(report);
  if (risk === undefined) return;
  if (strictEviction) refuse(risk);
  logger.error({ address, maxmemoryPolicy: report.maxmemoryPolicy }, risk);
}

/** Tells by the run ids of all masters seen so far which other one is the same process. */
export function rememberRunIds(): AdmitOptions['sameProcess'] {
  const runIds = new Map<string, string>();
  return (runId, address) => {
    runIds.set(address, runId);
    return [...runIds].find(([other, id]) => other !== address && id === runId)?.[0];
  };
}
