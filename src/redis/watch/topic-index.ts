import { tagTopicName, type Change, type Topic, type TopicKind } from './topic.js';

/** Topics by what they are of, and by the changes that are told to them. */
export class TopicIndex {
  private readonly topics = new Map<string, Topic>();
  /** How many prefixes there are of each length. */
  private readonly prefixLengths = new Map<number, number>();

  get size(): number {
    return this.topics.size;
  }

  /** How often `of` looks for a prefix of a change. */
  get prefixLooks(): number {
    return this.prefixLengths.size;
  }

  get(kind: TopicKind, name: string): Topic | undefined {
    return this.topics.get(idOf(kind, name));
  }

  all(): Iterable<Topic> {
    return this.topics.values();
  }

  /** Nothing may be there of the same kind and name. */
  add(topic: Topic): void {
    this.topics.set(idOf(topic.kind, topic.name), topic);
    if (topic.kind === 'prefix') this.countPrefix(topic.name.length, 1);
  }

  delete(topic: Topic): void {
    this.topics.delete(idOf(topic.kind, topic.name));
    if (topic.kind === 'prefix') this.countPrefix(topic.name.length, -1);
  }

  /** The topics that a change is one of. */
  *of(change: Change): Generator<Topic, void> {
    if (change.kind === 'key' && change.topics === 'prefix') {
      for (const length of this.prefixLengths.keys()) {
        if (length > change.name.length) continue;
        const prefix = this.get('prefix', change.name.slice(0, length));
        if (prefix !== undefined) yield prefix;
      }
      return;
    }
    const topic =
      change.kind === 'tag'
        ? this.get('tag', tagTopicName(change.namespace, change.tag))
        : this.get('key', change.name);
    if (topic !== undefined) yield topic;
  }

  private countPrefix(length: number, more: 1 | -1): void {
    const count = (this.prefixLengths.get(length) ?? 0) + more;
    if (count > 0) this.prefixLengths.set(length, count);
    else this.prefixLengths.delete(length);
  }
}

function idOf(kind: TopicKind, name: string): string {
  return `${kind}:${name}`;
}
