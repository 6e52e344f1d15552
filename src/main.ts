import cluster from 'node:cluster';
import type { Registry } from 'prom-client';
import type { ServiceHealth } from './admin/health-report.js';
import { processMetrics } from './admin/process-metrics.js';
import { startAdminServer } from './admin/server.js';
import { ConfigError, ListenError, loadConfig, type Config } from './config/config.js';
import { FileCopy } from './config/file-copy.js';
import { createLogger } from './log.js';
import { describePlan } from './redis/roles.js';
import type { ProcessHealthOptions } from './service-health.js';
import { startService, type Service } from './service.js';
import { CREDENTIALS_COPY, POLICIES_COPY, startSupervisor } from './supervisor.js';
import { ownVersion } from './version.js';
import type { WorkerMessage, WorkerQuestion } from './worker-message.js';

/** sysexits.h EX_CONFIG: a restart cannot help. */
const EXIT_CONFIG = 78;
/** The second signal, or a failed start. */
const EXIT_FAILURE = 1;

function configOrExit(): Config {
  try {
    return loadConfig(process.env, {
      policiesCopy: copyAt(POLICIES_COPY),
      credentialsCopy: copyAt(CREDENTIALS_COPY),
    });
  } catch (error) {
    if (!(error instanceof ConfigError)) throw error;
    process.stderr.write(`shardkeep: ${error.message}\n`);
    process.exit(EXIT_CONFIG);
  }
}

/** A worker's; undefined where it has none. */
function copyAt(name: string): FileCopy | undefined {
  const path = cluster.isWorker ? process.env[name] : undefined;
  return path === undefined ? undefined : new FileCopy(path);
}

/** What serves in this process, or looks after those that do. */
interface Running {
  readonly address: string;
  readonly ready: Promise<void>;
  metrics(): Promise<string>;
  health(options: ProcessHealthOptions): Promise<ServiceHealth>;
  drain(): Promise<boolean>;
  /** Ends what a process that exits would leave behind. */
  kill(): void;
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
  for (const metric of processMetrics(ownVersion())) service.metrics.register(metric);
  const { registry } = service.metrics;
  if (cluster.isWorker) answerSupervisor(service);
  return {
    address: service.address,
    ready: service.ready,
    metrics: () => registry.metrics(),
    health: async (options) => {
      const own = await service.health(options);
      return { version: ownVersion(), uptimeMs: own.uptimeMs, draining: own.draining, processes: [own], silent: 0 };
    },
    drain: async () => {
      const finished = await service.drain();
      if (cluster.isWorker) await reportMetrics(registry);
      return finished;
    },
    kill: () => undefined,
  };
}

/** Tells the supervisor what it asks this worker for. */
function answerSupervisor({ metrics, health }: Service): void {
  process.on('message', (asked: WorkerQuestion) => {
    if (asked.ask === 'metrics') void reportMetrics(metrics.registry);
    else {
      const { question } = asked;
      void health(asked).then((answer) => tellSupervisor({ kind: 'health', question, health: answer }));
    }
  });
}

async function reportMetrics(registry: Registry): Promise<void> {
  await tellSupervisor({ kind: 'metrics', metrics: await registry.getMetricsAsJSON() });
}

function startWithWorkers(): Promise<Running> {
  const onUnusable = (code: number): void => {
    process.exit(code);
  };
  return startSupervisor({ config, logger, onUnusable });
}

/** Resolves when the message is on its way, or nobody is there to have it. */
function tellSupervisor(message: WorkerMessage): Promise<void> {
  const { worker } = cluster;
  return new Promise((resolve) => {
    if (worker?.isConnected() !== true) resolve();
    else {
      worker.send(message, () => {
        resolve();
      });
    }
  });
}

function giveUp(code: number): never {
  // another worker would fare no better
  void tellSupervisor({ kind: 'unusable', code });
  process.exit(code);
}

const config = configOrExit();
const logger = createLogger(config.logLevel, cluster.worker?.id);

// before anything is waited for: a signal without a listener ends the process
if (cluster.isWorker) process.on('SIGHUP', () => undefined);
else if (config.workers === 1) {
  process.on('SIGHUP', () => {
    logger.warn('SIGHUP is ignored: a process without WORKERS cannot be replaced while it serves');
  });
}

const start = cluster.isPrimary && config.workers > 1 ? startWithWorkers : startAlone;
const cannotStart = (error: unknown): never => {
  // what is the machine's or the settings' doing needs no stack
  if (error instanceof ListenError) logger.fatal({ problem: error.message }, 'cannot start');
  else logger.fatal({ err: error }, 'cannot start');
  return giveUp(error instanceof ConfigError ? EXIT_CONFIG : EXIT_FAILURE);
};
const starting = start();
// whoever reads this may send a signal
if (cluster.isPrimary) for (const warning of config.warnings) logger.warn(warning);
const running = await starting.catch(cannotStart);
void tellSupervisor({ kind: 'listening', address: running.address });

const admin =
  cluster.isPrimary && config.adminListen !== undefined
    ? await startAdminServer(config.adminListen, running).catch(cannotStart)
    : undefined;
if (admin !== undefined) logger.info({ address: admin.address }, 'admin port listening');

let stopping = false;
const stop = (signal: NodeJS.Signals): void => {
  if (stopping) {
    // a signal to the whole process group reaches a worker twice; how long its drain takes is its supervisor's business
    if (cluster.isWorker) return;
    running.kill();
    process.exit(EXIT_FAILURE);
  }
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
// Ctrl-C and a terminal that closes reach the whole process group; a worker goes when its supervisor says so
process.on('SIGINT', cluster.isPrimary ? stop : () => undefined);

await running.ready;
void tellSupervisor({ kind: 'ready' });
logger.info(
  { address: running.address, redis: describePlan(config.redis.plan) },
  cluster.isPrimary ? 'ready' : 'worker ready',
);
