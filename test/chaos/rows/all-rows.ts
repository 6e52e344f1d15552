import type { Row } from '../row.js';
import { badClients } from './bad-clients.js';
import { clockJumps } from './clocks.js';
import { clusterFaults } from './cluster.js';
import { manyCallers } from './many-callers.js';
import { networkFaults } from './network.js';
import { partition } from './partition.js';
import { redisFrozen } from './redis-frozen.js';
import { redisRefuses } from './redis-refuses.js';
import { redisRestarts } from './redis-restarts.js';
import { sentinelFaults } from './sentinel.js';
import { serviceEnds } from './service-ends.js';
import { serviceFrozen } from './service-frozen.js';
import { settingsFaults } from './settings.js';

/** In the order in which they run. */
export const ALL_ROWS: readonly Row[] = [
  ...redisRestarts,
  ...serviceEnds,
  ...redisFrozen,
  ...networkFaults,
  ...redisRefuses,
  ...serviceFrozen,
  ...sentinelFaults,
  ...partition,
  ...clusterFaults,
  ...clockJumps,
  ...badClients,
  ...manyCallers,
  ...settingsFaults,
];
