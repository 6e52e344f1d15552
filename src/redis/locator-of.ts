import type { Logger } from 'pino';
import type { ServerTarget } from './connection.js';
import { FixedLocator } from './fixed-locator.js';
import type { LocatorEvents, MasterLocator } from './master-locator.js';
import { SentinelLocator } from './sentinel/sentinel-locator.js';

export function locatorOf(target: ServerTarget, logger: Logger, events: LocatorEvents): MasterLocator {
  return target.topology === 'sentinel' ? new SentinelLocator(target, logger, events) : new FixedLocator(target);
}
