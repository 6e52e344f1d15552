import { nowMs, type HistoryFile } from './history.js';
import type { ServiceUnderChaos } from './service-under-chaos.js';

const TICK_MS = 50;
const STALLED_MS = 2;
const TICKS_A_WEIGHING = 20;

/** Writes down what the services weigh, and when the machine gave them no processor. */
export function sampleServices(services: readonly ServiceUnderChaos[], file: HistoryFile): () => void {
  const waited = new Map<ServiceUnderChaos, { readonly ms: number; readonly atMs: number }>();
  let ticks = 0;
  const timer = setInterval(() => {
    const atMs = nowMs();
    for (const service of services) {
      const { waitedMs, rssMb, number } = service;
      const last = waited.get(service);
      if (waitedMs === undefined) {
        waited.delete(service);
        continue;
      }
      waited.set(service, { ms: waitedMs, atMs });
      const ms = waitedMs - (last?.ms ?? waitedMs);
      if (last !== undefined && ms >= STALLED_MS) {
        file.add({ kind: 'stall', who: 'service', service: number, fromMs: last.atMs, atMs, ms });
      }
      if (ticks % TICKS_A_WEIGHING === 0 && rssMb !== undefined) {
        file.add({ kind: 'memory', service: number, rssMb, atMs });
      }
    }
    ticks++;
  }, TICK_MS);
  return () => {
    clearInterval(timer);
  };
}
