import { setTimeout as sleep } from 'node:timers/promises';
import type { Logger } from 'pino';
import { describeTarget, type SentinelTarget, type StandaloneTarget } from '../connection.js';
import { accessOf } from '../client-options.js';
import { redisUnavailable } from '../errors.js';
import { OutageLog } from '../outage-log.js';
import { SentinelNode, type MasterView } from './sentinel-node.js';

/** A sentinel that is slower is not waited for. */
const ANSWER_MS = 500;
/** How long the first sentinel is waited for. */
const FIRST_SENTINEL_MS = 1_000;

/**
 * What the sentinels say who the master is. All of them are asked each time, and the newest view counts: one that was cut
 * off, or stood still, still names the old master, which may not know yet that it was deposed and would take writes that
 * are lost. So an older view than one that was seen is believed only from a majority, which was set up anew then.
 */
export class SentinelWatch {
  private readonly nodes: readonly SentinelNode[];
  private readonly listeners = new Set<(master: StandaloneTarget) => void>();
  private readonly outages: OutageLog;
  private firstHeard: () => void = () => undefined;
  private readonly first = new Promise<void>((resolve) => {
    this.firstHeard = resolve;
  });
  private known: MasterView | undefined;
  private asking: Promise<MasterView> | undefined;

  constructor(
    private readonly target: SentinelTarget,
    private readonly logger: Logger,
  ) {
    this.outages = new OutageLog(logger);
    this.nodes = target.sentinels.map(
      (endpoint) =>
        new SentinelNode(endpoint, target, logger, {
          onNews: () => {
            this.hear();
          },
        }),
    );
  }

  /** Asks where the master is. Throws where no sentinel says so. */
  async locate(): Promise<StandaloneTarget> {
    this.asking ??= this.ask().finally(() => {
      this.asking = undefined;
    });
    return this.serverOf(await this.asking);
  }

  /** Calls back when another server is the master. */
  onSwitch(listener: (master: StandaloneTarget) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }

  close(): void {
    for (const node of this.nodes) node.close();
  }

  private hear(): void {
    this.firstHeard();
    const running = this.asking?.catch(() => undefined) ?? Promise.resolve();
    // what is on its way may have been asked before; what goes wrong is logged
    running.then(() => this.locate()).catch(() => undefined);
  }

  private async ask(): Promise<MasterView> {
    const name = describeTarget(this.target);
    if (!this.nodes.some(({ isReady }) => isReady)) {
      await Promise.race([this.first, sleep(FIRST_SENTINEL_MS, undefined, { ref: false })]);
    }
    const connected = this.nodes.filter(({ isReady }) => isReady);
    const answers = await Promise.allSettled(connected.map((node) => inTime(node.master())));
    const views = answers.flatMap((answer) => (answer.status === 'fulfilled' ? [answer.value] : []));
    const newest = this.newestOf(views);
    if (newest !== undefined) {
      this.outages.connected(name);
      this.believe(newest);
      return newest;
    }
    const reasons = answers.flatMap((answer) => (answer.status === 'rejected' ? [String(answer.reason)] : []));
    const reason =
      connected.length === 0
        ? 'no sentinel is connected'
        : views.length > 0
          ? 'the sentinels that answer know an older master only'
          : reasons.join('; ');
    const failure = redisUnavailable(`the master is not known: ${reason}`);
    this.outages.failed(name, failure, 'sentinels do not tell the master');
    throw failure;
  }

  /** Undefined where none of them can be believed. */
  private newestOf(views: readonly MasterView[]): MasterView | undefined {
    const newest = views.reduce<MasterView | undefined>(
      (best, view) => (best === undefined || view.epoch > best.epoch ? view : best),
      undefined,
    );
    if (newest === undefined || this.known === undefined || newest.epoch >= this.known.epoch) return newest;
    const agreeing = views.filter(({ host, port }) => host === newest.host && port === newest.port);
    return agreeing.length * 2 > this.nodes.length ? newest : undefined;
  }

  private believe(view: MasterView): void {
    const { known } = this;
    this.known = view;
    if (known === undefined || (known.host === view.host && known.port === view.port)) return;
    const master = this.serverOf(view);
    this.logger.warn(
      { from: `${known.host}:${String(known.port)}`, to: describeTarget(master), epoch: view.epoch },
      'redis master switched',
    );
    for (const listener of [...this.listeners]) listener(master);
  }

  private serverOf({ host, port }: MasterView): StandaloneTarget {
    const { database } = this.target;
    return { ...accessOf(this.target), topology: 'standalone', host, port, database };
  }
}

async function inTime(answer: Promise<MasterView>): Promise<MasterView> {
  const late = sleep(ANSWER_MS, undefined, { ref: false }).then(() => {
    throw new Error('a sentinel does not answer');
  });
  return Promise.race([answer, late]);
}
