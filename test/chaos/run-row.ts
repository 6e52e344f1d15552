import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { takeSessionCensus } from '../support/session-census.js';
import { HistoryFile, ROW_FILE, type RowFile } from './history.js';
import { LoadProcess } from './load-process.js';
import type { LoadSettings } from './load/settings.js';
import { STRICT, type Row } from './row.js';
import { sampleServices } from './samples.js';
import { SERVICE_DEADLINE_MS, World } from './world.js';

export interface RunOptions {
  readonly seed: number;
  /** Where the history goes; made if it is not there. */
  readonly folder: string;
  /** How many actors of each kind; about 400 calls a second by default. */
  readonly actors?: LoadSettings['actors'];
  /** Before the fault, and at least so many after it. */
  readonly calls?: number;
  /** Another build of the service than dist/. */
  readonly main?: string;
}

const ACTORS = { sessions: 14, locks: 8, holders: 4, limits: 10, caches: 12 } as const;
const REST_MS = 100;
/** Half of what the client gives a call by itself. */
const CLIENT_TIMEOUT_MS = 1_000;
const CALLS = 500;
const AFTER_MS = 5_000;

/** Runs one row: a system under load, the fault, and what is there afterwards. Judges nothing. */
export async function runRow(
  row: Row,
  { seed, folder, actors = ACTORS, calls = CALLS, main }: RunOptions,
): Promise<void> {
  mkdirSync(folder, { recursive: true });
  const { id, what, setup } = row;
  const rowFile: RowFile = { id, what, seed, expect: { ...STRICT, ...row.expect } };
  writeFileSync(join(folder, ROW_FILE), JSON.stringify(rowFile));
  const file = new HistoryFile(join(folder, 'row.jsonl'));
  const world = await World.start({ setup, seed, file, main });
  const load = LoadProcess.start({
    seed,
    file: join(folder, 'load.jsonl'),
    addresses: world.addresses,
    ...(setup.sides === true ? { staying: true } : {}),
    clientsEach: setup.balanced === true ? 6 : 2,
    timeoutMs: CLIENT_TIMEOUT_MS,
    ...(setup.servicesLive === true ? { serviceDeadlineMs: SERVICE_DEADLINE_MS } : {}),
    actors,
    restMs: REST_MS,
  });
  const stopSampling = sampleServices(world.services, file);
  try {
    world.loadedBy(load);
    await load.more(calls);
    await row.inject(world);
    await Promise.all([load.more(calls), sleep(setup.afterMs ?? AFTER_MS)]);
    await load.stop();
    await load.verify();
    await load.quit();
    stopSampling();
    for (const service of world.services) await service.stop('SIGTERM');
    const { sessions, problems } = await takeSessionCensus(await world.masterUrls(), world.namespace);
    file.add({ kind: 'books', sessions: sessions.length, problems: [...problems] });
  } finally {
    stopSampling();
    load.kill();
    file.flush();
    await world.remove();
  }
}
