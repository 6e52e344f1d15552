import type { MetricDefinition } from '../../admin/metrics.js';
import { describeTarget, type StandaloneTarget } from '../../redis/connection.js';
import type { OperationTimer } from '../../redis/operation-timer.js';
import { Redis } from '../../redis/redis.js';
import { admitMaster, rememberRunIds, type AdmitOptions } from '../masters/admit-master.js';
import { RedlockLocks, type RedlockSettings } from './redlock-locks.js';
import { redlockScripts } from './scripts.js';

/** What is set of locks that users of npm `redlock` share. */
export interface RedlockPlan extends RedlockSettings {
  /** 1, 3 or 5 masters that know nothing of each other; none: the Redis of the role `state`. */
  readonly targets: readonly StandaloneTarget[];
}

export interface RedlockOptions extends RedlockPlan, Omit<AdmitOptions, 'sameProcess'> {
  /** The Redis of the role `state`, with the scripts of this folder. */
  readonly state: Redis;
  readonly timer: OperationTimer;
  /** A master that answers nothing for so long is given up, and asked nothing until it is back. */
  readonly timeoutMs: number;
}

export interface Redlock {
  readonly locks: RedlockLocks;
  readonly metrics: readonly MetricDefinition[];
  /** Begins to connect in the background. */
  connect(): void;
  close(): Promise<void>;
}

/** Locks that users of npm `redlock` share; composes what is in this folder. */
export function createRedlockLocks(options: RedlockOptions): Redlock {
  const admission = { ...options, sameProcess: rememberRunIds() };
  const masters = options.targets.map((target) => {
    const address = describeTarget(target);
    return new Redis({
      target,
      scripts: redlockScripts,
      timer: options.timer,
      timeoutMs: options.timeoutMs,
      logger: options.logger.child({ redlock: address }),
      onNode: (report) => {
        admitMaster(report, address, admission);
        return Promise.resolve();
      },
    });
  });
  return {
    locks: new RedlockLocks({ ...options, nodes: masters.length === 0 ? [options.state] : masters }),
    metrics: [],
    connect: () => {
      for (const master of masters) master.connect();
    },
    close: async () => {
      await Promise.all(masters.map((master) => master.close()));
    },
  };
}
