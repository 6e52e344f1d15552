/** What the client says beside its answers: pino's shape, so a pino logger fits as it is. */
export interface Logger {
  debug(details: object, message: string): void;
  warn(details: object, message: string): void;
  error(details: object, message: string): void;
}

const nothing = (): void => undefined;

/** Of `logger: false`: nothing is said. */
export const SILENT: Logger = { debug: nothing, warn: nothing, error: nothing };
