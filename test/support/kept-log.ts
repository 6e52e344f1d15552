import { pino, type Logger } from 'pino';
import { until } from './redis-server.js';

/** What a service in this process has logged. */
export class KeptLog {
  readonly lines: Readonly<Record<string, unknown>>[] = [];
  readonly logger: Logger = pino(
    { level: 'info' },
    {
      write: (line: string) => {
        this.lines.push(JSON.parse(line) as Record<string, unknown>);
      },
    },
  );

  /** Waits for a line of this code. */
  async untilCode(code: string): Promise<Readonly<Record<string, unknown>>> {
    const line = (): Readonly<Record<string, unknown>> | undefined => this.lines.find((each) => each.code === code);
    await until(() => line() !== undefined);
    return line() ?? {};
  }

  get text(): string {
    return JSON.stringify(this.lines);
  }
}
