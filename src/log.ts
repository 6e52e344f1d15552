import { pino, type Logger } from 'pino';

/** JSON lines on standard output; object first, constant message second. `worker` is absent where there is only one. */
export function createLogger(level: string, worker?: number): Logger {
  return pino({ level, base: { service: 'shardkeep', ...(worker === undefined ? {} : { worker }) } });
}
