import { skipped, type Section } from '../harness/section.js';
import { inScopeOfItsOwn, type Suite, type SuiteContext } from '../harness/suite.js';
import { measureMemory } from './cache-memory.js';
import { hasRoom, type CachePart } from './cache-part.js';
import { measurePattern } from './cache-pattern.js';
import { measureReads } from './cache-reads.js';
import { measureTags } from './cache-tags.js';

const TITLE = 'The cache: tags, patterns, memory, kinds of read';

const PARTS: Readonly<Record<string, (context: SuiteContext) => Promise<CachePart>>> = {
  tags: measureTags,
  patterns: measurePattern,
  memory: measureMemory,
  reads: measureReads,
};

export const cache: Suite = {
  name: 'cache',
  run: async (context): Promise<Section> => {
    if (!hasRoom()) return skipped(TITLE, 'it needs 2 GiB of free memory');
    const parts: CachePart[] = [];
    for (const [name, measure] of Object.entries(PARTS)) {
      context.say(`cache: ${name}`);
      parts.push(await inScopeOfItsOwn(context, measure));
    }
    return {
      title: TITLE,
      notes: parts.map(({ note }) => note),
      goals: parts.flatMap(({ goals }) => goals),
      tables: parts.flatMap(({ tables }) => tables),
      plots: parts.flatMap(({ plots }) => plots),
    };
  },
};
