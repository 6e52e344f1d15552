import { listIn, objectIn } from '../arguments.js';
import type { Lock } from './acquire-outcome.js';

export function toResources(resources: string | readonly string[]): string[] {
  return typeof resources === 'string' ? [resources] : listIn(resources, 'resources');
}

/** What of a lock says which one to release or to extend. Throws InvalidArgumentError where it is no object. */
export function toHeldLock(lock: Pick<Lock, 'resources' | 'lockToken'>): {
  readonly resources: string[];
  readonly lockToken: string;
} {
  const { resources, lockToken } = objectIn(lock, 'lock');
  return { resources: listIn(resources, 'resources'), lockToken };
}
