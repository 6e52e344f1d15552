import { setTimeout as sleep } from 'node:timers/promises';
import { connect } from '../../../src/client/index.js';
import { probeSettings, type ProbeNews } from './settings.js';

/** Asks for liveness as an orchestrator does: from a process of its own, and each time on a new connection. */

const { address, everyMs, timeoutMs } = probeSettings.parse(JSON.parse(process.argv[2] ?? '{}'));
const stop = new AbortController();

process.on('message', () => {
  stop.abort();
});
// whoever started it is gone
process.on('disconnect', () => process.exit(1));

const found: ProbeNews = { probes: 0, failed: 0, worstMs: 0 };
while (!stop.signal.aborted) {
  const startMs = performance.now();
  const client = connect(address, { logger: false, retry: { maxAttempts: 1 } });
  const status = await client.health.check('liveness', { timeoutMs }).catch(() => 'failed');
  found.probes++;
  if (status !== 'serving') found.failed++;
  found.worstMs = Math.max(found.worstMs, performance.now() - startMs);
  if (found.probes === 1) process.send?.(found);
  await client.close();
  await sleep(everyMs);
}
process.send?.(found, () => process.exit(0));
