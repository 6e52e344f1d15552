import { nowMs, type HistoryFile } from '../history.js';

const TICK_MS = 10;
const STALLED_MS = 2;

/** Writes down when this process stood still: what its calls took then says nothing of the service. */
export function watchEventLoop(file: HistoryFile): () => void {
  let lastMs = nowMs();
  const timer = setInterval(() => {
    const atMs = nowMs();
    const lateMs = atMs - lastMs - TICK_MS;
    if (lateMs >= STALLED_MS) file.add({ kind: 'stall', who: 'client', fromMs: lastMs, atMs, ms: lateMs });
    lastMs = atMs;
  }, TICK_MS);
  return () => {
    clearInterval(timer);
  };
}
