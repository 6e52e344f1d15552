import type { Logger } from '../../client/index.js';
import { either, oneOf, optional, thing, type OptionCheck } from '../../client/option-checks.js';

export { loggerOf } from '../../client/warning-logger.js';

/** Of the option: a logger with these methods, or false. */
export function loggerWith(...methods: readonly (keyof Logger)[]): OptionCheck {
  return optional(either(oneOf(false), thing('a logger, or false', ...methods)));
}
