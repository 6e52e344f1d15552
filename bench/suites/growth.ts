import type { Section } from '../harness/section.js';
import type { Suite, SuiteContext } from '../harness/suite.js';
import { growConnections } from './growth-connections.js';
import { growKeys } from './growth-keys.js';
import { growValues } from './growth-values.js';
import type { Growth } from './growth-steps.js';
import { growWorkers } from './growth-workers.js';

const DIMENSIONS: Readonly<Record<string, (context: SuiteContext) => Promise<Growth>>> = {
  workers: growWorkers,
  keys: growKeys,
  connections: growConnections,
  values: growValues,
};

export const growth: Suite = {
  name: 'growth',
  run: async (context): Promise<Section> => {
    const parts: Growth[] = [];
    for (const [name, measure] of Object.entries(DIMENSIONS)) {
      context.say(`growth of ${name}`);
      parts.push(await measure(context));
    }
    return {
      title: 'How it grows',
      notes: parts.map(({ note }) => note),
      goals: [],
      tables: parts.flatMap(({ tables }) => tables),
      plots: parts.flatMap(({ plots }) => plots),
    };
  },
};
