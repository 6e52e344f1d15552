import type { Logger } from 'pino';
import type { MetricDefinition } from '../admin/metrics.js';
import { ConfigError } from './config-error.js';
import type { PoliciesSource, ServedPolicies } from './policies-source.js';
import { FileWatch } from './file-watch.js';

export interface PoliciesReloadOptions {
  /** Undefined: what is served ships with the service, and does not change. */
  readonly source: PoliciesSource | undefined;
  /** Puts other policies in force, all or none of them: it throws ConfigError when they will not do. */
  readonly apply: (policies: ServedPolicies) => void;
  /** Whether the policies in force are those of the file. */
  readonly onCurrent: (isCurrent: boolean) => void;
  readonly logger: Logger;
}

/** Keeps the policies in force those of the file; when it cannot be used, the last ones that could stay. */
export class PoliciesReload {
  readonly metrics: readonly MetricDefinition[];
  private readonly results = { applied: 0, refused: 0 };
  private isCurrent = true;
  private readonly watch: FileWatch | undefined;

  constructor(private readonly options: PoliciesReloadOptions) {
    const { source, logger } = options;
    this.watch =
      source &&
      new FileWatch({
        name: 'policies',
        path: source.path,
        text: source.text,
        onChange: (content) => {
          this.reload(source, content);
        },
        logger,
      });
    this.metrics = [
      {
        name: 'shardkeep_policies_reloads_total',
        type: 'counter',
        help: 'Changes of the policies file, by what became of them.',
        values: () => Object.entries(this.results).map(([result, value]) => ({ labels: { result }, value })),
      },
      {
        name: 'shardkeep_policies_refused',
        type: 'gauge',
        help: 'Processes whose policies are older than the file, which cannot be used.',
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

  private reload(source: PoliciesSource, content: string | Error): void {
    const { apply, logger } = this.options;
    try {
      if (content instanceof Error) throw new ConfigError([`POLICIES_FILE: cannot read it: ${content.message}`]);
      apply(source.parse(content));
      this.keep(source, content);
    } catch (error) {
      const problems = error instanceof ConfigError ? error.problems : undefined;
      if (problems === undefined) logger.error({ err: error }, 'bad policies file');
      else for (const problem of problems) logger.error({ problem }, 'bad policies file');
      logger.error('policies file refused, the policies before it stay in force');
      this.results.refused++;
      this.setCurrent(false);
      return;
    }
    logger.info('policies replaced');
    this.results.applied++;
    this.setCurrent(true);
  }

  /** For workers started later; they do without when the disk is full. */
  private keep({ copy }: PoliciesSource, text: string): void {
    try {
      copy?.write(text);
    } catch (error) {
      this.options.logger.warn({ err: error }, 'cannot copy the policies file');
    }
  }

  private setCurrent(isCurrent: boolean): void {
    this.isCurrent = isCurrent;
    this.options.onCurrent(isCurrent);
  }
}
