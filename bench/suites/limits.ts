import type { Section } from '../harness/section.js';
import { inScopeOfItsOwn, type Suite, type SuiteContext } from '../harness/suite.js';
import { measureGates } from './limits-gates.js';
import { measureLimitMemory } from './limits-memory.js';
import type { LimitsPart } from './limits-part.js';
import { measureSeveral } from './limits-several.js';
import { measureSpared } from './limits-spared.js';
import { measureThroughput } from './limits-throughput.js';

const PARTS: readonly ((context: SuiteContext) => Promise<LimitsPart>)[] = [
  measureLimitMemory,
  measureSeveral,
  measureThroughput,
  measureSpared,
  measureGates,
];

export const limits: Suite = {
  name: 'limits',
  run: async (context): Promise<Section> => {
    const parts: LimitsPart[] = [];
    for (const measure of PARTS) parts.push(await inScopeOfItsOwn(context, measure));
    return {
      title: 'Rate limits: memory, several limits, throughput, what Redis is spared',
      notes: parts.map(({ note }) => note),
      goals: parts.flatMap(({ goals }) => goals),
      tables: parts.flatMap(({ tables }) => tables),
      plots: [],
    };
  },
};
