import { DomainError } from '../errors.js';

/** The error of what cannot be done where locks live. */
export function lockMode(what: string): DomainError {
  return new DomainError('LOCK_MODE', `${what}: not where locks live on a quorum of masters, or as those of redlock`);
}
