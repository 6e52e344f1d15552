import { ConfigError, loadConfig, type Config } from './config/config.js';
import { createLogger } from './log.js';
import { describePlan } from './redis/roles.js';
import { startService } from './service.js';

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

const config = configOrExit();
const logger = createLogger(config.logLevel);
for (const warning of config.warnings) logger.warn(warning);

const service = await startService({
  config,
  logger,
  onUnusable: (error) => {
    logger.fatal({ err: error }, 'this Redis cannot be served from');
    process.exit(EXIT_CONFIG);
  },
}).catch((error: unknown) => {
  logger.fatal({ err: error }, 'cannot start');
  process.exit(error instanceof ConfigError ? EXIT_CONFIG : EXIT_FAILURE);
});

let stopping = false;
const stop = (signal: NodeJS.Signals): void => {
  if (stopping) process.exit(EXIT_FAILURE);
  stopping = true;
  logger.info({ signal }, 'draining');
  service
    .drain()
    .then((finished) => {
      logger.info({ finished }, 'stopped');
      process.exit(0);
    })
    .catch((error: unknown) => {
      logger.fatal({ err: error }, 'cannot drain');
      process.exit(EXIT_FAILURE);
    });
};
process.on('SIGTERM', stop);
process.on('SIGINT', stop);

await service.ready;
logger.info({ address: service.address, redis: describePlan(config.redis.plan) }, 'ready');
