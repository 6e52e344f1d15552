export type TopicKind = 'key' | 'prefix' | 'tag';

/** Who is told of a topic's changes. None of these may throw, or join and leave topics. */
export interface TopicWatcher {
  tell(change: Change): void;
  /** Changes of the topic are told from now on. */
  armed(topic: Topic): void;
  /** Changes of the topic may have gone untold, and are not told for now. */
  lost(topic: Topic): void;
}

/** What happened. */
export type Change =
  | {
      readonly kind: 'key';
      /** The topics that it is told to: a source tells each change to its own. */
      readonly topics: 'key' | 'prefix';
      /** Of Redis. */
      readonly name: string;
    }
  | { readonly kind: 'tag'; readonly namespace: string; readonly tag: string; readonly mode: 'hard' | 'soft' };

/** Something that is watched: a key or the beginning of keys as Redis knows them, or `<namespace>:<tag>`. */
export class Topic {
  readonly watchers = new Set<TopicWatcher>();
  /** The position of the feed from which on no change of the topic is missing; undefined: changes are not told now. */
  since: number | undefined;
  /** When the last watcher left, on the clock of `performance.now()`. */
  idleSince = 0;

  constructor(
    readonly kind: TopicKind,
    readonly name: string,
  ) {}
}

export function tagTopicName(namespace: string, tag: string): string {
  return `${namespace}:${tag}`;
}

/** Brings the changes of one kind of topics. */
export interface TopicSource {
  /** Begins to look after a topic; from when on changes are told it tells the sink. */
  open(topic: Topic): void;
  close(topic: Topic): void;
}

/** Where sources bring what they know. */
export interface ChangeSink {
  armed(topic: Topic): void;
  lost(topic: Topic): void;
  changed(change: Change): void;
}
