import { invalidArgument } from '../errors.js';

/** What a call takes resources from, maybe of plain JavaScript. Throws InvalidArgumentError for what are no texts. */
export function toResources(resources: unknown, field = 'resources'): string[] {
  if (typeof resources === 'string') return [resources];
  if (!Array.isArray(resources)) throw invalidArgument(`${field} must be a text or an array of texts`, [field]);
  const list: readonly unknown[] = resources;
  const isWrong = (resource: unknown): boolean => typeof resource !== 'string';
  if (list.some(isWrong)) {
    const wrong = list.flatMap((resource, index) => (isWrong(resource) ? [`${field}[${String(index)}]`] : []));
    throw invalidArgument(`${wrong.join(', ')} must be a text`, wrong);
  }
  return list.map(String);
}

/** A lock to release or to extend, maybe of plain JavaScript. Throws InvalidArgumentError for what is none. */
export function toHeldResources(lock: unknown): { readonly resources: string[]; readonly lockToken: string } {
  if (typeof lock !== 'object' || lock === null) throw invalidArgument('what is given is no lock', ['lock']);
  const resources = toResources('resources' in lock ? lock.resources : undefined);
  const lockToken = 'lockToken' in lock ? lock.lockToken : undefined;
  if (typeof lockToken !== 'string') throw invalidArgument('lockToken must be a text', ['lockToken']);
  return { resources, lockToken };
}
