import { luaScript, UnexpectedReplyError } from '../redis/lua-script.js';
import { ReplyReader } from '../redis/reply.js';

const from = import.meta.url;

function readAll(reader: ReplyReader): Buffer[] {
  const items: Buffer[] = [];
  while (reader.remaining > 0) items.push(reader.bytes());
  return items;
}

export interface AddToSetReply {
  readonly status: 'applied' | 'refused';
  readonly added: number;
  readonly size: number;
}

export const addToSetScript = luaScript({
  file: './lua/add-to-set.lua',
  from,
  keys: ['set'],
  args: ['ttlMs', 'refreshExpiry', 'maxMembers', '...members'],
  parse: (reply): AddToSetReply => {
    const reader = new ReplyReader(reply);
    const status = reader.text();
    const [added, size] = [reader.number(), reader.number()];
    reader.end();
    if (status === 'APPLIED') return { status: 'applied', added, size };
    if (status === 'REFUSED') return { status: 'refused', added, size };
    throw new UnexpectedReplyError(status);
  },
});

export interface RemoveFromSetReply {
  readonly removed: number;
  readonly size: number;
}

export const removeFromSetScript = luaScript({
  file: './lua/remove-from-set.lua',
  from,
  keys: ['set'],
  args: ['...members'],
  parse: (reply): RemoveFromSetReply => {
    const reader = new ReplyReader(reply);
    const [removed, size] = [reader.number(), reader.number()];
    reader.end();
    return { removed, size };
  },
});

export interface GetSetMembersReply {
  readonly size: number;
  /** Where the next page begins; empty: there is none. */
  readonly nextPlace: string;
  readonly members: Buffer[];
}

export const getSetMembersScript = luaScript({
  file: './lua/get-set-members.lua',
  from,
  keys: ['set'],
  args: ['place', 'pageSize', 'maxBytes'],
  parse: (reply): GetSetMembersReply => {
    const reader = new ReplyReader(reply);
    const [size, nextPlace] = [reader.number(), reader.text()];
    return { size, nextPlace, members: readAll(reader) };
  },
});

export interface PushToListReply {
  readonly length: number;
  readonly trimmed: number;
}

export const pushToListScript = luaScript({
  file: './lua/push-to-list.lua',
  from,
  keys: ['list'],
  args: ['side', 'ttlMs', 'refreshExpiry', 'maxLength', '...items'],
  parse: (reply): PushToListReply => {
    const reader = new ReplyReader(reply);
    const [length, trimmed] = [reader.number(), reader.number()];
    reader.end();
    return { length, trimmed };
  },
});

export interface GetListReply {
  readonly length: number;
  readonly items: Buffer[];
}

export const getListScript = luaScript({
  file: './lua/get-list.lua',
  from,
  keys: ['list'],
  args: ['side', 'offset', 'limit', 'maxBytes'],
  parse: (reply): GetListReply => {
    const reader = new ReplyReader(reply);
    const length = reader.number();
    return { length, items: readAll(reader) };
  },
});

export const collectionScripts = [
  addToSetScript,
  removeFromSetScript,
  getSetMembersScript,
  pushToListScript,
  getListScript,
];
