import { DomainError } from '../errors.js';
import { notAllowed, type Principal } from './principal.js';
import type { PresentingCall } from './presented.js';

/** Tells who makes a call, and what they may. Throws BAD_CREDENTIAL or NOT_ALLOWED. */
export interface Authority {
  principalOf(call: PresentingCall): Principal;
  /** Whether a call shows a credential that is valid; what it allows is another question. Counts no failure. */
  knows(call: PresentingCall): boolean;
  /**
   * The same for a stream, which stays open. Calls back, once and never before it returns, when the stream may not go on:
   * its credential is taken away or has expired, or no longer allows the namespace or the RPC (undefined: any).
   */
  follow(call: PresentingCall, rpc: string | undefined, onEnd: (error: DomainError) => void): Followed;
}

/** Who has opened a stream. */
export interface Followed {
  /** What the principal may as of now. */
  readonly principal: Principal;
  /** The stream is over. */
  release(): void;
}

/** What `ask` answers, or the error it throws; for those who have a call to refuse with it. */
export function refusalOr<Answer>(ask: () => Answer): Answer | DomainError {
  try {
    return ask();
  } catch (error) {
    if (error instanceof DomainError) return error;
    throw error;
  }
}

/** In which of its namespaces a caller wants to work; the principal's first where it is absent. */
export const NAMESPACE_METADATA = 'shardkeep-namespace';

/** Whoever can reach the service is the same principal. */
export class OpenAuthority implements Authority {
  constructor(private readonly principal: Principal) {}

  principalOf({ metadata }: PresentingCall): Principal {
    const asked = metadata.get(NAMESPACE_METADATA);
    if (asked.length > 0 && (asked.length > 1 || asked[0] !== this.principal.namespace)) throw notAllowed('namespace');
    return this.principal;
  }

  knows(): boolean {
    return true;
  }

  follow(call: PresentingCall): Followed {
    return { principal: this.principalOf(call), release: () => undefined };
  }
}
