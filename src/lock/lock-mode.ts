import { DomainError } from '../errors.js';

/** The error of what cannot be done where locks live. */
export function lockMode(what: string): DomainError {
  return new DomainError(
    'LOCK_MODE',
    `${what}: this service cannot do that where its locks live (LOCK_REDIS_URLS, LOCK_COMPATIBLE)`,
  );
}
