import cluster from 'node:cluster';
import { AggregatorRegistry, type Registry } from 'prom-client';
import { startAdminServer } from './admin/server.js';
import { ConfigError, loadConfig, type Config } from './config/config.js';
import { createLogger } from './log.js';
import { describePlan } from './redis/roles.js';
import { startService } from './service.js';
import { startSupervisor } from './supervisor.js';
import type { WorkerMessage } from './workers.js';

/** sysexits.h EX_CONFIG: a restart cannot help. */
const EXIT_CONFIG = 78;
/** The second signal, or a failed start. */
const EXIT_FAILURE = 1;

function configOrExit(): Config {
  try {
    return loadConfig(process.env);
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    process.stderr.write(`shardkeep: ${error.message}\n`);
    process.exit(EXIT_CONFIG);
  }
}

/** What serves in this process, or looks after those that do. */
interface Running {
  readonly address: string;
  readonly ready: Promise<void>;
  metrics(): Promise<string>;
  drain(): Promise<boolean>;
}

async function startAlone(): Promise<Running> {
  const service = await startService({
    config,
    logger,
    onUnusable: (error) => {
      logger.fatal({ err: error }, 'this Redis cannot be served from');
      giveUp(EXIT_CONFIG);
    },
  });
  const { registry } = service.metrics;
  if (cluster.isWorker) answerSupervisor(registry);
  return {
    address: service.address,
    ready: service.ready,
    metrics: () => registry.metrics(),
    drain: () => service.drain(),
  };
}

/** Gives the supervisor this worker's part of the metrics when it asks. */
function answerSupervisor(registry: Registry): void {
  AggregatorRegistry.setRegistries([registry]);
  // making one is what begins to listen
  new AggregatorRegistry();
}

function startWithWorkers(): Promise<Running> {
  const onUnusable = (code: number): void => {
    process.exit(code);
  };
  return startSupervisor({ config, logger, onUnusable });
}

function tellSupervisor(message: WorkerMessage): void {
  cluster.worker?.send(message);
}

function giveUp(code: number): never {
  // another worker would fare no better
  tellSupervisor({ kind: 'unusable', code });
  process.exit(code);
}

const config = configOrExit();
const logger = createLogger(config.logLevel, cluster.worker?.id);
if (cluster.isPrimary) for (const warning of config.warnings) logger.warn(warning);

const start = cluster.isPrimary && config.workers > 1 ? startWithWorkers : startAlone;
const cannotStart = (error: unknown): never => {
  logger.fatal({ err: error }, 'cannot start');
  return giveUp(error instanceof ConfigError ? EXIT_CONFIG : EXIT_FAILURE);
};
const running = await start().catch(cannotStart);
tellSupervisor({ kind: 'listening', address: running.address });

const admin =
  cluster.isPrimary && config.adminListen !== undefined
    ? await startAdminServer(config.adminListen, () => running.metrics()).catch(cannotStart)
    : undefined;
if (admin !== undefined) logger.info({ address: admin.address }, 'admin port listening');

let stopping = false;
const stop = (signal: NodeJS.Signals): void => {
  if (stopping) process.exit(EXIT_FAILURE);
  stopping = true;
  logger.info({ signal }, 'draining');
  running
    .drain()
    .then(async (finished) => {
      await admin?.close();
      logger.info({ finished }, 'stopped');
      process.exit(0);
    })
    .catch((error: unknown) => {
      logger.fatal({ err: error }, 'cannot drain');
      process.exit(EXIT_FAILURE);
    });
};
process.on('SIGTERM', stop);
// Ctrl-C reaches the whole process group; a worker goes when its supervisor says so
process.on('SIGINT', cluster.isPrimary ? stop : () => undefined);

await running.ready;
tellSupervisor({ kind: 'ready' });
logger.info(
  { address: running.address, redis: describePlan(config.redis.plan) },
  cluster.isPrimary ? 'ready' : 'worker ready',
);
