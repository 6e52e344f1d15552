import type { Row } from '../row.js';
import { redisRestarts } from './redis-restarts.js';
import { serviceEnds } from './service-ends.js';

/** In the order in which they run. */
export const ALL_ROWS: readonly Row[] = [...redisRestarts, ...serviceEnds];
