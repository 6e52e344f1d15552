import fs from 'node:fs';
import { performance } from 'node:perf_hooks';
import { pino, type Logger } from 'pino';

/** How long the last lines may take to be written when the process ends. */
const LAST_LINES_MS = 1_000;

/** JSON lines on standard output; object first, constant message second. `worker` is absent where there is only one. */
export function createLogger(level: string, worker?: number): Logger {
  // not in step with the reader: one that stands still must not stop the service
  const destination = pino.destination({ dest: 1, sync: false });
  const flushSync = destination.flushSync.bind(destination);
  destination.flushSync = () => {
    writingToNobody(flushSync);
  };
  return pino({ level, base: { service: 'shardkeep', ...(worker === undefined ? {} : { worker }) } }, destination);
}

/**
 * Runs what writes, and lets it go on as if written when the reader is gone. sonic-boom 4.2.1 tries again for ever at the end
 * of the process, whatever the error: a service whose log reader died would never exit.
 */
function writingToNobody(write: () => void): void {
  const { writeSync } = fs;
  const giveUpAt = performance.now() + LAST_LINES_MS;
  fs.writeSync = (descriptor: number, data: string | NodeJS.ArrayBufferView): number => {
    try {
      return typeof data === 'string' ? writeSync(descriptor, data) : writeSync(descriptor, data);
    } catch (error) {
      const isBusy = (error as NodeJS.ErrnoException).code === 'EAGAIN';
      if (isBusy && performance.now() < giveUpAt) throw error;
      return Buffer.byteLength(data);
    }
  };
  try {
    write();
  } finally {
    fs.writeSync = writeSync;
  }
}
