import type { Logger } from 'pino';
import { FOREIGN_KINDS, ForeignTokens, type ForeignKind } from './foreign-tokens.js';

/** Foreign tokens by the namespace they were presented in: what one tenant's callers present is no other's business. */
export class NamespacedForeignTokens {
  private readonly byNamespace = new Map<string, ForeignTokens>();

  constructor(private readonly logger: Logger) {}

  of(namespace: string): ForeignTokens {
    let tokens = this.byNamespace.get(namespace);
    if (tokens === undefined) {
      tokens = new ForeignTokens(this.logger.child({ namespace }));
      this.byNamespace.set(namespace, tokens);
    }
    return tokens;
  }

  /** Of all namespaces. */
  get counts(): Readonly<Record<ForeignKind, number>> {
    const sums: Record<ForeignKind, number> = { malformed: 0, unknown: 0 };
    for (const { counts } of this.byNamespace.values()) for (const kind of FOREIGN_KINDS) sums[kind] += counts[kind];
    return sums;
  }
}
