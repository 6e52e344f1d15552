import { watch, type FSWatcher } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { dirname } from 'node:path';
import type { Logger } from 'pino';

export interface FileWatchOptions {
  /** What the log calls it. */
  readonly name: string;
  readonly path: string;
  /** What was read of it already. */
  readonly text: string;
  /** What is in it now, or why that cannot be read. */
  readonly onChange: (content: string | Error) => void;
  readonly logger: Logger;
}

/** A file that is being written looks the same twice only when its writer is done. */
const SETTLE_MS = 100;
/** Changes that no event tells of: in a folder that a link leads to, on a network, or without inotify watches left. */
const POLL_MS = 2_000;

/**
 * Tells what is in a file whenever that is another. It is the folder that is watched: editors rename a new file over the old
 * one, and Kubernetes renames the link to the folder that a ConfigMap's files are in.
 */
export class FileWatch {
  private seen: string;
  private watcher: FSWatcher | undefined;
  private pollTimer: NodeJS.Timeout | undefined;
  private settleTimer: NodeJS.Timeout | undefined;
  /** What the file looked like when it was last read, if that has yet to settle. */
  private unsettled: string | undefined;
  /** How often something happened. */
  private touches = 0;
  private closed = false;

  constructor(private readonly options: FileWatchOptions) {
    this.seen = options.text;
  }

  start(): void {
    const { name, path, logger } = this.options;
    try {
      this.watcher = watch(dirname(path), { persistent: false }, () => {
        this.look();
      });
      this.watcher.on('error', (error) => {
        logger.warn({ file: name, err: error }, 'file is only polled');
      });
    } catch (error) {
      logger.warn({ file: name, err: error }, 'file is only polled');
    }
    this.pollTimer = setInterval(() => {
      this.look();
    }, POLL_MS);
    this.pollTimer.unref();
    // it may have changed between being read and being watched
    this.look();
  }

  close(): void {
    this.closed = true;
    this.watcher?.close();
    clearInterval(this.pollTimer);
    clearTimeout(this.settleTimer);
  }

  /** Reads the file, unless that is about to happen anyway. */
  private look(): void {
    this.touches++;
    if (this.settleTimer !== undefined || this.closed) return;
    this.settleTimer = setTimeout(() => void this.read(), this.unsettled === undefined ? 0 : SETTLE_MS);
    this.settleTimer.unref();
  }

  private async read(): Promise<void> {
    const { touches } = this;
    const content = await readFile(this.options.path, 'utf8').catch((error: unknown) =>
      error instanceof Error ? error : new Error(String(error)),
    );
    if (this.closed) return;
    this.settleTimer = undefined;
    const state = typeof content === 'string' ? content : `\0${content.message}`;
    const isSettled = state === this.unsettled;
    this.unsettled = undefined;
    if (state !== this.seen) {
      if (isSettled) {
        this.seen = state;
        this.options.onChange(content);
      } else this.unsettled = state;
    }
    if (this.touches !== touches || this.unsettled !== undefined) this.look();
  }
}
