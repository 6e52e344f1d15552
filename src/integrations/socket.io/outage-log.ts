import type { Logger } from '../../client/index.js';

/** Says once an outage what fails in it, however many sockets it fails for. */
export class OutageLog {
  private failures = 0;

  constructor(
    private readonly logger: Logger,
    private readonly message: string,
  ) {}

  failed(err: unknown): void {
    const failures = ++this.failures;
    if (failures === 1) this.logger.warn({ err }, this.message);
    else this.logger.debug({ err, failures }, this.message);
  }

  succeeded(): void {
    this.failures = 0;
  }
}
