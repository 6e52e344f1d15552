import type { Logger } from 'pino';
import type { MetricDefinition } from '../admin/metrics.js';
import { ConfigError } from './config-error.js';
import type { FileCopy } from './file-copy.js';
import { FileWatch } from './file-watch.js';

/** A file of settings that may change while the service runs. */
export interface SettingsSource<Settings> {
  readonly path: string;
  /** What was in it, or in the copy. */
  readonly text: string;
  readonly copy: FileCopy | undefined;
  readonly isCopied: boolean;
  /** Throws ConfigError. */
  parse(text: string): Settings;
}

export interface SettingsReloadOptions<Settings> {
  /** What log and metrics call it. */
  readonly name: 'policies' | 'credentials';
  /** That names the file. */
  readonly setting: string;
  /** Undefined: what is served does not change. */
  readonly source: SettingsSource<Settings> | undefined;
  /** Puts others in force, all or none of them: it throws ConfigError when they will not do. */
  readonly apply: (settings: Settings) => void | Promise<void>;
  /** Whether the settings in force are those of the file. */
  readonly onCurrent?: (isCurrent: boolean) => void;
  readonly logger: Logger;
}

/** Keeps the settings in force those of a file; when it cannot be used, the last ones that could stay. */
export class SettingsReload<Settings> {
  readonly metrics: readonly MetricDefinition[];
  private readonly results = { applied: 0, refused: 0 };
  private isCurrent = true;
  private readonly watch: FileWatch | undefined;
  /** One after the other. */
  private reloading = Promise.resolve();

  constructor(private readonly options: SettingsReloadOptions<Settings>) {
    const { name, source, logger } = options;
    this.watch =
      source &&
      new FileWatch({
        name,
        path: source.path,
        text: source.text,
        onChange: (content) => {
          this.reloading = this.reloading.then(() => this.reload(source, content));
        },
        logger,
      });
    this.metrics = [
      {
        name: `shardkeep_${name}_reloads_total`,
        type: 'counter',
        help: `Changes of the ${name} file, by what became of them.`,
        values: () => Object.entries(this.results).map(([result, value]) => ({ labels: { result }, value })),
      },
      {
        name: `shardkeep_${name}_refused`,
        type: 'gauge',
        help: `Processes whose ${name} are older than the file, which cannot be used.`,
        values: () => [{ labels: {}, value: this.isCurrent ? 0 : 1 }],
      },
    ];
  }

  start(): void {
    const { source } = this.options;
    if (source?.isCopied === false) this.keep(source, source.text);
    this.watch?.start();
  }

  close(): void {
    this.watch?.close();
  }

  private async reload(source: SettingsSource<Settings>, content: string | Error): Promise<void> {
    const { name, setting, apply, logger } = this.options;
    try {
      if (content instanceof Error) throw new ConfigError([`${setting}: cannot read it: ${content.message}`]);
      await apply(source.parse(content));
      this.keep(source, content);
    } catch (error) {
      const problems = error instanceof ConfigError ? error.problems : undefined;
      if (problems === undefined) logger.error({ err: error }, `bad ${name} file`);
      else for (const problem of problems) logger.error({ problem }, `bad ${name} file`);
      logger.error(`${name} file refused, the ${name} before it stay in force`);
      this.results.refused++;
      this.setCurrent(false);
      return;
    }
    logger.info(`${name} replaced`);
    this.results.applied++;
    this.setCurrent(true);
  }

  /** For workers started later; they do without when the disk is full. */
  private keep({ copy }: SettingsSource<Settings>, text: string): void {
    const { name, logger } = this.options;
    try {
      copy?.write(text);
    } catch (error) {
      logger.warn({ err: error }, `cannot copy the ${name} file`);
    }
  }

  private setCurrent(isCurrent: boolean): void {
    this.isCurrent = isCurrent;
    this.options.onCurrent?.(isCurrent);
  }
}
