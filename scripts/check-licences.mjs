import { productionPackages } from './production-packages.mjs';

/** Everything the service runs on may be shipped with it: permissive licences only. */

const ALLOWED = new Set(['0BSD', 'Apache-2.0', 'BSD-2-Clause', 'BSD-3-Clause', 'BlueOak-1.0.0', 'ISC', 'MIT']);

/** Of an SPDX expression: every part of an AND, any part of an OR. */
function isAllowed(expression) {
  const parts = expression.replace(/^\((.*)\)$/, '$1');
  if (parts.includes(' OR ')) return parts.split(' OR ').some(isAllowed);
  return parts.split(' AND ').every((licence) => ALLOWED.has(licence));
}

const packages = productionPackages();
const refused = packages.filter(({ license }) => license === undefined || !isAllowed(license));
for (const { name, version, license } of refused) {
  process.stderr.write(`${name}@${version}: ${license ?? 'no licence'} is not one of ${[...ALLOWED].join(', ')}\n`);
}
if (refused.length > 0) process.exitCode = 1;
