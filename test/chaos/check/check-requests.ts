import type { CallRecord, History } from '../history.js';
import type { DeclaredLoss } from './declared-loss.js';
import type { Violations } from './findings.js';

/** I9: calls with one request id are one call, so a retry is answered as the first that was answered. */
export function checkRequests(history: History, loss: DeclaredLoss, violations: Violations): void {
  const first = new Map<string, CallRecord>();
  for (const call of history.calls('session.create', 'limit.window', 'limit.bucket')) {
    const { request, status = '', key = '' } = call;
    // what was not admitted is not remembered
    if (request === undefined || (status !== 'created' && status !== 'allowed' && status !== 'denied')) continue;
    const known = first.get(request);
    if (known === undefined) {
      if (status !== 'denied') first.set(request, call);
    } else if ((known.status !== status || known.key !== key) && !loss.isBetween(known.endMs, call.endMs)) {
      violations.add(
        'I9',
        `${call.op} of ${request} was ${known.status ?? ''} ${known.key ?? ''}, then ${status} ${key}`,
      );
    }
  }
}
