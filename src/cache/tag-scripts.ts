import { luaScript } from '../redis/lua-script.js';
import { ReplyReader } from '../redis/reply.js';

const from = import.meta.url;

export const invalidateTagsScript = luaScript({
  file: './lua/invalidate-tags.lua',
  from,
  keys: ['tags'],
  args: ['mode', 'maxTags', '...tags'],
  parse: (reply): number => {
    const reader = new ReplyReader(reply);
    const clock = reader.number();
    reader.end();
    return clock;
  },
});

export interface TagChanges {
  readonly clock: number;
  readonly floor: number;
  /** All changes up to this tick are told. */
  readonly upTo: number;
  readonly members: readonly { readonly member: string; readonly tick: number }[];
}

export const readTagsScript = luaScript({
  file: './lua/read-tags.lua',
  from,
  keys: ['tags'],
  args: ['since', 'limit'],
  /** Undefined: there is no table. */
  parse: (reply): TagChanges | undefined => {
    const reader = new ReplyReader(reply);
    if (reader.remaining === 0) return undefined;
    const [clock, floor, upTo] = [reader.number(), reader.number(), reader.number()];
    const members: { member: string; tick: number }[] = [];
    while (reader.remaining > 0) members.push({ member: reader.text(), tick: reader.number() });
    return { clock, floor, upTo, members };
  },
});

export const tagScripts = [invalidateTagsScript, readTagsScript];
