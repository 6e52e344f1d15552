import { performance } from 'node:perf_hooks';
import type { Call } from '../../redis/call.js';
import { describeTarget, type StandaloneTarget } from '../../redis/connection.js';
import { keys } from '../../redis/keys.js';
import type { BoundScript } from '../../redis/lua-script.js';
import { redisUnavailable } from '../../redis/errors.js';
import type { NodeReport } from '../../redis/node-report.js';
import type { OperationTimer } from '../../redis/operation-timer.js';
import type { Readiness } from '../../redis/readiness.js';
import { Redis } from '../../redis/redis.js';
import { admitMaster, type AdmitOptions } from '../masters/admit-master.js';
import { admitMasterScript, quorumScripts } from './scripts.js';

/** A master as the rounds see it. */
export interface Voter extends Readiness {
  /** Names it in logs and metrics, without credentials. */
  readonly address: string;
  /** Whether it can be asked. Ready is one that votes, too. */
  readonly isConnected: boolean;
  run<Reply>(bound: BoundScript<Reply>, call: Call): Promise<Reply>;
  /** It was found not to vote. */
  noteAmnesia(): void;
}

export interface QuorumMasterOptions extends AdmitOptions {
  readonly target: StandaloneTarget;
  readonly namespace: string;
  /** For how long a master that may have forgotten something is kept out. */
  readonly quarantineMs: number;
  readonly timer?: OperationTimer;
}

/** Every master is looked at so often: one that was flushed begins its quarantine by it, also while nobody locks. */
const LOOK_MS = 1_000;
/** One that takes longer for its answer hangs, and is asked nothing until it has given it. */
const ANSWER_MS = 1_000;

/** One master of a quorum: its connection, and whether it votes. */
export class QuorumMaster implements Voter {
  readonly address: string;
  private readonly redis: Redis;
  private readonly listeners: ((ready: boolean) => void)[] = [];
  private runId = '';
  private isAdmitted = false;
  private isHanging = false;
  private wasReady = false;
  private timer: NodeJS.Timeout | undefined;
  private isClosed = false;

  constructor(private readonly options: QuorumMasterOptions) {
    const { target, timer, logger } = options;
    this.address = describeTarget(target);
    this.redis = new Redis({
      target,
      scripts: quorumScripts,
      ...(timer === undefined ? {} : { timer }),
      logger: logger.child({ quorum: this.address }),
      permissions: { namespaces: new Set([options.namespace]) },
      onNode: (report) => this.admitNode(report),
    });
    this.redis.onStateChange(() => {
      this.tellState();
    });
  }

  get isConnected(): boolean {
    return this.redis.isReady && !this.isHanging;
  }

  get isReady(): boolean {
    return this.isConnected && this.isAdmitted;
  }

  onStateChange(listener: (ready: boolean) => void): void {
    this.listeners.push(listener);
  }

  connect(): void {
    this.redis.connect();
    this.lookIn(LOOK_MS);
  }

  /** Only while it is connected: before that it may be another process than the one that was asked for its run id. */
  run<Reply>(bound: BoundScript<Reply>, call: Call): Promise<Reply> {
    if (!this.isConnected) return Promise.reject(redisUnavailable('a master of the quorum is away'));
    return this.redis.run(bound, call);
  }

  noteAmnesia(): void {
    if (this.isAdmitted) this.lookIn(0);
    this.isAdmitted = false;
    this.tellState();
  }

  async close(): Promise<void> {
    this.isClosed = true;
    clearTimeout(this.timer);
    await this.redis.close();
  }

  /** Before anything else is sent on a new connection: what answers there may have restarted. */
  private async admitNode(report: NodeReport): Promise<void> {
    admitMaster(report, this.address, this.options);
    this.runId = report.runId;
    this.lookIn(await this.look());
  }

  /** Asks the master whether it votes; answers when to ask again. */
  private async look(): Promise<number> {
    const { namespace, quarantineMs, logger } = this.options;
    const { address } = this;
    const asked = this.redis.run(
      admitMasterScript.bind(
        { marker: keys.quorumMarker(namespace) },
        { runId: this.runId, quarantineMs: String(quarantineMs) },
      ),
      { namespace, deadlineAt: performance.now() + ANSWER_MS, ended: false },
    );
    const timer = setTimeout(() => {
      logger.warn({ address }, 'a master of the quorum does not answer');
      this.setHanging(true);
    }, ANSWER_MS);
    const leftMs = await asked.finally(() => {
      clearTimeout(timer);
      this.setHanging(false);
    });
    if (leftMs > 0 && (this.isAdmitted || leftMs >= quarantineMs)) {
      logger.warn({ address, leftMs }, 'a master of the quorum is new or has forgotten its votes; it is kept out');
    } else if (leftMs === 0 && !this.isAdmitted) {
      logger.info({ address }, 'a master of the quorum votes');
    }
    this.isAdmitted = leftMs === 0;
    this.tellState();
    return leftMs === 0 ? LOOK_MS : Math.min(leftMs, LOOK_MS);
  }

  private lookIn(delayMs: number): void {
    clearTimeout(this.timer);
    if (this.isClosed) return;
    this.timer = setTimeout(() => {
      const looked = this.redis.isReady ? this.look() : Promise.resolve(LOOK_MS);
      looked.then(
        (nextMs) => {
          this.lookIn(nextMs);
        },
        () => {
          // logged where it happened
          this.lookIn(LOOK_MS);
        },
      );
    }, delayMs).unref();
  }

  private setHanging(isHanging: boolean): void {
    this.isHanging = isHanging;
    this.tellState();
  }

  private tellState(): void {
    if (this.isReady === this.wasReady) return;
    this.wasReady = this.isReady;
    for (const listener of this.listeners) listener(this.wasReady);
  }
}
