import type { Logger } from 'pino';

/** What somebody decided about subjects, and who asked for it. */
interface By {
  readonly peer: string;
}

/** Writes down what people decide about subjects: bans, other limits, fresh starts. */
export class RateLimitAudit {
  private readonly logger: Logger | undefined;

  /** `logger` undefined: nothing is logged. */
  constructor(logger: Logger | undefined) {
    this.logger = logger?.child({ audit: true });
  }

  /** `policy` '': under all. */
  banned(ban: { subject: string; policy: string; expiresAtMs: number; reason: string }, by: By): void {
    this.log('banned', ban, by);
  }

  unbanned(ban: { subject: string; policy: string }, by: By): void {
    this.log('unbanned', ban, by);
  }

  /** `limit` 0: the policy's own again. */
  limitOverridden(override: { subject: string; policy: string; limit: number; expiresAtMs: number }, by: By): void {
    this.log('limit_overridden', override, by);
  }

  limitsReset(limits: readonly { readonly subject: string; readonly policy: string }[], by: By): void {
    this.log('limits_reset', { limits }, by);
  }

  private log(event: string, what: object, { peer }: By): void {
    this.logger?.info({ event, ...what, peer }, 'rate limit audit');
  }
}
