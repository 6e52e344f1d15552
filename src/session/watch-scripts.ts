import { luaScript, UnexpectedReplyError } from '../redis/lua-script.js';
import { ReplyReader } from '../redis/reply.js';

/** One entry of a partition's stream. */
export interface StreamEntry {
  /** `<ms>-<seq>`, by Redis's clock. */
  readonly id: string;
  readonly fields: ReadonlyMap<string, string>;
}

export type ReadEventsReply =
  | {
      /** `lost`: some events behind the position are missing. `end`: they were not asked for. */
      readonly status: 'lost' | 'end';
      readonly nowMs: number;
      /** Where the events are now. */
      readonly lastId: string;
      readonly added: number;
    }
  | {
      readonly status: 'events';
      readonly nowMs: number;
      /** How many events the stream had had before these. */
      readonly seen: number;
      readonly more: boolean;
      readonly entries: readonly StreamEntry[];
    };

function readEntries(reader: ReplyReader): StreamEntry[] {
  const entries: StreamEntry[] = [];
  while (reader.remaining > 0) {
    const id = reader.text();
    const strings = reader.number();
    const fields = new Map<string, string>();
    for (let read = 0; read < strings; read += 2) {
      const name = reader.text();
      fields.set(name, reader.text());
    }
    entries.push({ id, fields });
  }
  return entries;
}

export const readEventsScript = luaScript({
  file: './lua/read-events.lua',
  from: import.meta.url,
  keys: ['events'],
  args: ['afterId', 'seen', 'maxEvents'],
  parse: (reply): ReadEventsReply => {
    const reader = new ReplyReader(reply);
    const status = reader.text();
    const nowMs = reader.number();
    switch (status) {
      case 'END':
      case 'LOST': {
        const place = { nowMs, lastId: reader.text(), added: reader.number() };
        reader.end();
        return { status: status === 'END' ? 'end' : 'lost', ...place };
      }
      case 'EVENTS':
        return {
          status: 'events',
          nowMs,
          seen: reader.number(),
          more: reader.boolean(),
          entries: readEntries(reader),
        };
      default:
        throw new UnexpectedReplyError(status);
    }
  },
});

export const watchScripts = [readEventsScript];
