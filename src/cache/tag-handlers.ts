import { InvalidationMode, type CacheServiceService } from '../gen/shardkeep/cache/v1/cache.js';
import type { Implementation } from '../grpc/rpc.js';
import { oneOfValues } from '../grpc/rules.js';
import { tagList } from './fields.js';
import type { CacheStore } from './store.js';

export function tagMethods({
  store,
}: {
  readonly store: CacheStore;
}): Pick<Implementation<typeof CacheServiceService>, 'invalidateTags'> {
  return {
    invalidateTags: {
      rules: {
        tags: tagList,
        mode: oneOfValues<InvalidationMode>(InvalidationMode.UNSPECIFIED, InvalidationMode.HARD, InvalidationMode.SOFT),
      },
      handle: async ({ tags, mode }, call) => ({
        generation: BigInt(await store.invalidateTags(tags, mode === InvalidationMode.SOFT ? 'soft' : 'hard', call)),
      }),
    },
  };
}
