import { pino, type Logger } from 'pino';

/** JSON lines on standard output; object first, constant message second. */
export function createLogger(level: string): Logger {
  return pino({ level, base: { service: 'shardkeep' } });
}
