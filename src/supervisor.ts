import type { Logger } from 'pino';
import type { ServiceHealth } from './admin/health-report.js';
import type { Config } from './config/config.js';
import { FileCopy } from './config/file-copy.js';
import { startEmbeddedRoles, type RedisPlan } from './redis/roles.js';
import type { ProcessHealthOptions } from './service-health.js';
import { ownVersion } from './version.js';
import { Workers } from './workers.js';

/** Tell a worker where the copies of the files are; no settings, since only this process knows. */
export const POLICIES_COPY = 'SHARDKEEP_POLICIES_COPY';
export const CREDENTIALS_COPY = 'SHARDKEEP_CREDENTIALS_COPY';

export interface SupervisorOptions {
  readonly config: Config;
  readonly logger: Logger;
  /** A worker's settings or its Redis will not do; the process should end with this status. */
  readonly onUnusable: (code: number) => void;
}

export interface Supervisor {
  readonly address: string;
  /** Resolves when every worker's Redis answers. */
  readonly ready: Promise<void>;
  /** In Prometheus' text format, summed over the workers. */
  metrics(): Promise<string>;
  health(options: ProcessHealthOptions): Promise<ServiceHealth>;
  /** Answers whether every call of every worker finished. */
  drain(): Promise<boolean>;
  /** Ends the workers at once. */
  kill(): void;
}

/**
 * Looks after `WORKERS` processes that serve; resolves when all listen. Embedded Redis children belong to this process, so
 * that they outlive a worker. SIGHUP replaces the workers one by one.
 */
export async function startSupervisor({ config, logger, onUnusable }: SupervisorOptions): Promise<Supervisor> {
  const { plan } = config.redis;
  const embedded = plan.kind === 'embedded' ? startEmbeddedRoles(plan, logger) : undefined;
  const policies = config.policiesSource && FileCopy.create('policies', config.policiesSource.text);
  const credentials = config.credentialsSource && FileCopy.create('credentials', config.credentialsSource.text);
  const workers = new Workers({
    count: config.workers,
    drainTimeoutMs: config.grpc.drainTimeoutMs,
    environment: {
      ...(embedded && environmentOf(embedded.targets)),
      ...(policies && { [POLICIES_COPY]: policies.path }),
      ...(credentials && { [CREDENTIALS_COPY]: credentials.path }),
    },
    logger,
    onUnusable,
  });
  let draining = false;
  const starting = workers.start();
  // before it is known whether they start: a signal without a listener ends the process
  process.on('SIGHUP', () => {
    const replaced = starting.then(() => {
      logger.info('replacing the workers');
      return workers.reload();
    });
    replaced.then(
      () => {
        logger.info('workers replaced');
      },
      (error: unknown) => {
        logger.error({ err: error }, 'the workers are not replaced');
      },
    );
  });
  const { address, ready } = await starting;
  return {
    address,
    ready,
    metrics: () => workers.metrics.text(),
    health: async ({ withRedis }) => {
      const answers = await workers.health(withRedis);
      const processes = answers.filter((answer) => answer !== undefined);
      return {
        version: ownVersion(),
        uptimeMs: Math.round(process.uptime() * 1_000),
        draining,
        processes,
        silent: answers.length - processes.length,
      };
    },
    kill: () => {
      workers.kill();
    },
    drain: async () => {
      draining = true;
      const finished = await workers.stop();
      await embedded?.stop();
      return finished;
    },
  };
}

type Targets = Extract<RedisPlan, { kind: 'external' }>['targets'];

/** Names the embedded Redis to workers as if it were not; an empty variable counts as absent. */
function environmentOf(targets: Targets): Record<string, string> {
  const urlOf = (target: Targets['cache']): string => ('socketPath' in target ? `unix:${target.socketPath}` : '');
  return {
    CACHE_REDIS_URL: urlOf(targets.cache),
    STATE_REDIS_URL: urlOf(targets.state),
    ALLOW_REDIS_WITHOUT_PASSWORD: '1',
    EMBEDDED_REDIS: '',
    DATA_DIR: '',
  };
}
